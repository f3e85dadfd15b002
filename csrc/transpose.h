// Rows for columns, in squares of vectors.
#pragma once
#include "product.h"

namespace evengrad::EVENGRAD_TARGET {

// Alternates the numbers of the first (second) halves of a and b.
typedef int32_t VectorIndex __attribute__((vector_size(kVectorFloats * sizeof(int32_t))));
template <int kHalf>
static inline Vector interleave(Vector a, Vector b) {
  constexpr int kFirst = kHalf * kVectorFloats / 2;
#if defined(__clang__)
  Vector mixed = a;
  for (int i = 0; i < kVectorFloats / 2; ++i) {
    mixed[2 * i] = a[kFirst + i];
    mixed[2 * i + 1] = b[kFirst + i];
  }
  return mixed;
#else
  VectorIndex from = {};
  for (int i = 0; i < kVectorFloats / 2; ++i) {
    from[2 * i] = kFirst + i;
    from[2 * i + 1] = kFirst + i + kVectorFloats;
  }
  return __builtin_shuffle(a, b, from);
#endif
}

// A square of vectors, rows for columns: perfect shuffles, as many as the width has bits.
static inline void transpose(Vector (&m)[kVectorFloats]) {
  constexpr int kHalf = kVectorFloats / 2;
#pragma GCC unroll 4
  for (int bit = 1; bit < kVectorFloats; bit *= 2) {
    Vector next[kVectorFloats];
#pragma GCC unroll 8
    for (int i = 0; i < kHalf; ++i) {
      next[2 * i] = interleave<0>(m[i], m[i + kHalf]);
      next[2 * i + 1] = interleave<1>(m[i], m[i + kHalf]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kVectorFloats; ++i) m[i] = next[i];
  }
}

// to[c][r] = from[r][c] for whole vectors of columns; rows from `rows` on count as 0 and are not
// read, and of `to` only the first `columns` rows are written.
static void transpose_into(const float* from, int64_t from_pitch, int64_t rows, float* to,
                           int64_t to_pitch, int64_t columns) {
  constexpr int64_t kV = kVectorFloats;
  for (int64_t r = 0; r < rows; r += kV) {
    for (int64_t c = 0; c < columns; c += kV) {
      Vector square[kV];
#pragma GCC unroll 16
      for (int64_t i = 0; i < kV; ++i) {
        const float* row = from + (r + i) * from_pitch + c;
        square[i] = r + i < rows ? *reinterpret_cast<const Vector*>(row) : Vector{};
      }
      transpose(square);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kV; ++i) {
        if (c + i < columns) *reinterpret_cast<Vector*>(to + (c + i) * to_pitch + r) = square[i];
      }
    }
  }
}

}  // namespace evengrad::EVENGRAD_TARGET
