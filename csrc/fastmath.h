// Elementary functions as plain scalar code that `omp simd` loops vectorise: no branches, no
// tables, no library calls. NaN in, NaN out. The bounds are what tests/test_activations.py checks.
#pragma once
#include "kernels.h"

namespace evengrad::EVENGRAD_TARGET {

static inline int32_t bits_of(float x) { return __builtin_bit_cast(int32_t, x); }
static inline float float_of(int32_t bits) { return __builtin_bit_cast(float, bits); }

static inline float fabs_(float x) { return float_of(bits_of(x) & 0x7fffffff); }
static inline float copysign_(float magnitude, float sign) {
  return float_of(bits_of(magnitude) | (bits_of(sign) & INT32_MIN));
}
// 2^n for -126 <= n <= 127; unsigned, since NaN comes with any n.
static inline float pow2(int32_t n) {
  return __builtin_bit_cast(float, (static_cast<uint32_t>(n) + 127u) << 23);
}

// Comparisons are written so that NaN falls through to x.
static inline float at_most(float x, float limit) { return x > limit ? limit : x; }
static inline float at_least(float x, float limit) { return x < limit ? limit : x; }

// x = n ln2 + r, |r| <= ln2 / 2, for |x| < 200. Adding 1.5 * 2^23 rounds to an integer and leaves
// it in the low bits; rintf would be a library call on the baseline.
struct Reduced {
  float r;
  int32_t n;
};
static inline Reduced reduce_ln2(float x) {
  const float magic = 12582912.0f;
  float shifted = x * 1.44269504f + magic;
  float n = shifted - magic;
  float r = x - n * 0.693359375f;  // exact: 9 bits
  r = r + n * 2.12194440e-4f;
  return {r, bits_of(shifted) - bits_of(magic)};
}

// e^r - 1 - r over r^2 on |r| <= ln2 / 2.
static inline float expm1_tail(float r) {
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  return p * r + 5.0000001201e-1f;
}

// Max error 2 ULP on all floats, denormal results included.
static inline float exp_(float x) {
  Reduced a = reduce_ln2(at_least(at_most(x, 90.0f), -105.0f));
  float y = (expm1_tail(a.r) * a.r) * a.r + a.r + 1.0f;
  int32_t half = a.n >> 1;
  return y * pow2(half) * pow2(a.n - half);
}

// Max error 2 ULP on all floats.
static inline float expm1_(float x) {
  Reduced a = reduce_ln2(at_least(at_most(x, 90.0f), -30.0f));
  float p = (expm1_tail(a.r) * a.r) * a.r + a.r;
  int32_t half = (a.n - 1) >> 1;  // 2^n as two factors: n may be 129
  float first = pow2(half), second = pow2(a.n - 1 - half);
  float s = first * second;
  // 2 (s p + (s - 1/2)): with s = 2^(n-1) the subtraction is exact where it matters.
  float y = (s * p + (s - 0.5f)) * 2.0f;
  return fabs_(x) < 1e-7f ? x : y;  // also keeps the sign of zero and denormals
}

// Max error 4 ULP on all floats.
static inline float tanh_(float x) {
  float t = expm1_(-2.0f * at_most(fabs_(x), 10.0f));
  return copysign_(-t / (t + 2.0f), x);
}

// Max error 4 ULP on all floats; denormal results included.
static inline float sigmoid_(float x) {
  float e = exp_(-fabs_(x));
  float r = 1.0f / (1.0f + e);
  return x < 0.0f ? e * r : r;
}

// ln(m) for normal m > 0, plus a correction: ln(m) + c.
static inline float log_plus(float m, float c) {
  // Less sqrt(1/2), so that the fraction is near 1; unsigned, since m may be anything.
  int32_t bits = static_cast<int32_t>(static_cast<uint32_t>(bits_of(m)) - 0x3f3504f3u);
  int32_t k = bits >> 23;
  float f = float_of((bits & 0x7fffff) + 0x3f3504f3) - 1.0f;
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  float z = f * f;
  float n = static_cast<float>(k);
  float y = z * f * p + n * -2.12194440e-4f + c;
  y = y - 0.5f * z;
  return n * 0.693359375f + (f + y);
}

// Max error 2 ULP for normal x > 0; +inf gives +inf, NaN gives NaN.
static inline float log_(float x) {
  float y = log_plus(x, 0.0f);
  return x < __builtin_inff() ? y : x;
}

// Max error 4 ULP on [0, 1].
static inline float log1p_unit(float u) {
  float w = 1.0f + u;
  return log_plus(w, (u - (w - 1.0f)) / w);
}

// ln(1 + e^x). Max error 4 ULP on all floats.
static inline float softplus_(float x) {
  float positive = x < 0.0f ? 0.0f : x;
  return positive + log1p_unit(exp_(-fabs_(x)));
}

}  // namespace evengrad::EVENGRAD_TARGET
