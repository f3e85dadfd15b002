// Rows as blocks of columns: a block is a cache line, the padding behind the last column included,
// so that a row of few columns is one turn of vectors without a scalar rest. What lies in the
// padding is computed with the rest and left out by a comparison; numbers are loaded before it,
// since GCC makes scalar code of loads that depend on one.
#pragma once
#include "vectors.h"

namespace evengrad::EVENGRAD_TARGET {

constexpr int32_t kBlock = static_cast<int32_t>(kPitchFloats);

// body(first column, number of columns from there on, more than a block's at most as one block).
template <class Body>
static inline void for_blocks(int64_t columns, Body body) {
  for (int64_t b = 0; b < columns; b += kBlock) {
    const int64_t left = columns - b;
    body(b, left < kBlock ? static_cast<int32_t>(left) : kBlock);
  }
}

// Folds a block in halves down to one number. A reduction over an array of known length is what
// compilers make sixteen scalar operations of.
typedef float EightFloats __attribute__((vector_size(32)));
typedef float FourFloats __attribute__((vector_size(16)));
template <class Fold>
static inline float folded(const void* block, Fold fold) {
  EightFloats eight, high;
  __builtin_memcpy(&eight, block, sizeof eight);
  __builtin_memcpy(&high, static_cast<const char*>(block) + sizeof high, sizeof high);
  fold(eight, high);
  FourFloats four, right;
  __builtin_memcpy(&four, &eight, sizeof four);
  __builtin_memcpy(&right, reinterpret_cast<const char*>(&eight) + sizeof right, sizeof right);
  fold(four, right);
  float a = four[0], b = four[1];
  fold(a, four[2]), fold(b, four[3]);
  fold(a, b);
  return a;
}

static inline float sum_of_block(const void* block) {
  return folded(block, [](auto& a, const auto& b) { a += b; });
}
static inline float max_of_block(const void* block) {
  return folded(block, [](auto& a, const auto& b) { a = a > b ? a : b; });
}
static inline float min_of_block(const void* block) {
  return folded(block, [](auto& a, const auto& b) { a = a < b ? a : b; });
}

// One number for each column of a block, added up over blocks, in registers.
struct Lanes {
  Vector v[kBlock / kVectorFloats] = {};

  __attribute__((always_inline)) void add(const float* x, float weight) {
#pragma GCC unroll 4
    for (int i = 0; i < kBlock / kVectorFloats; ++i) v[i] += load(x + i * kVectorFloats) * weight;
  }
  __attribute__((always_inline)) float sum() const { return sum_of_block(v); }
};

}  // namespace evengrad::EVENGRAD_TARGET
