// From the numbers that users have to float32, row by row.
#pragma once
#include "parallel.h"

namespace evengrad::EVENGRAD_TARGET {

struct Half {
  uint16_t bits;
};

static inline float as_float(Half half) {
  constexpr uint32_t kRebias = (127u - 15u) << 23;
  const uint32_t magnitude = half.bits & 0x7fffu, sign = half.bits & 0x8000u;
  const float denormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
  uint32_t bits = (magnitude << 13) + kRebias;
  bits = magnitude >= 0x7c00u ? bits + kRebias : bits;  // infinity, NaN
  bits = magnitude < 0x0400u ? __builtin_bit_cast(uint32_t, denormal) : bits;
  return __builtin_bit_cast(float, bits | sign << 16);
}
#if defined(__AVX2__) && !defined(__AVX512DQ__)
// Of 64 bits, which these processors do not convert several at a time: in two halves, by their
// place in a double. Beyond 2^53 it would not hold them all; there the last 12 bits decide no
// rounding to float32, but whether they are 0 may.
template <bool is_signed>
static inline float as_float_of_64(uint64_t x) {
  constexpr uint64_t kFlip = is_signed ? 0x80000000u : 0u;
  constexpr double kOffset = 0x1p84 + 0x1p52 + (is_signed ? 0x1p63 : 0.0);
  const uint64_t beyond = x + (is_signed ? uint64_t{1} << 53 : 0u);  // of +-2^53, as a bit pattern
  const uint64_t sticky = (x & 0xfffu) != 0 ? 0x800u : 0u;
  x = beyond >> (is_signed ? 54 : 53) != 0 ? (x & ~uint64_t{0xfff}) | sticky : x;
  const double low = __builtin_bit_cast(double, (x & 0xffffffffu) | 0x4330000000000000u);
  const double high = __builtin_bit_cast(double, ((x >> 32) ^ kFlip) | 0x4530000000000000u);
  return static_cast<float>((high - kOffset) + low);
}
static inline float as_float(int64_t x) { return as_float_of_64<true>(static_cast<uint64_t>(x)); }
static inline float as_float(uint64_t x) { return as_float_of_64<false>(x); }
#endif
template <class T>
static inline float as_float(T x) {
  return static_cast<float>(x);
}

// n adjacent numbers; none of them may be out of [low, high], nor NaN.
template <class T>
static bool convert_from(const void* source, int64_t n, float low, float high, float* to) {
  const T* from = static_cast<const T*>(source);
  int32_t illegal = 0;
#pragma omp simd reduction(| : illegal)
  for (int64_t i = 0; i < n; ++i) {
    const float x = as_float(from[i]);
    illegal |= !(x >= low) | !(x <= high);
    to[i] = x;
  }
  return illegal == 0;
}

struct Number {
  bool (*convert)(const void* from, int64_t n, float low, float high, float* to);
  int64_t size;  // bytes
};
template <class T>
static constexpr Number number() {
  return {convert_from<T>, static_cast<int64_t>(sizeof(T))};
}
// In the order of Dtype.
static constexpr Number kNumbers[] = {number<Half>(),     number<float>(),   number<double>(),
                                      number<int8_t>(),   number<int16_t>(), number<int32_t>(),
                                      number<int64_t>(),  number<uint8_t>(), number<uint16_t>(),
                                      number<uint32_t>(), number<uint64_t>()};

static inline bool convert(const void* from, const Source& s, int64_t n, float* to) {
  return kNumbers[static_cast<int>(s.dtype)].convert(from, n, s.low, s.high, to);
}
static inline int64_t size_of(Dtype dtype) { return kNumbers[static_cast<int>(dtype)].size; }

}  // namespace evengrad::EVENGRAD_TARGET
