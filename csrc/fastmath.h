// Elementary functions as plain scalar code that `omp simd` loops vectorise: no branches, no
// tables, no library calls. NaN in, NaN out. Bounds are in ULP of the exact result, 2^-149 where it
// is denormal; tests/cpp/test_functions.cpp holds them over all floats, with and without FMA.
// Sums like a - (s - b) recover what a rounding lost: never compile this with -fassociative-math.
#pragma once
#include "kernels.h"

namespace evengrad::EVENGRAD_TARGET {

static inline int32_t bits_of(float x) { return __builtin_bit_cast(int32_t, x); }
static inline float float_of(int32_t bits) { return __builtin_bit_cast(float, bits); }

static inline float fabs_(float x) { return float_of(bits_of(x) & 0x7fffffff); }
// A magnitude that is negative already stays so.
static inline float copysign_(float magnitude, float sign) {
  return float_of(bits_of(magnitude) | (bits_of(sign) & INT32_MIN));
}
// Below, an int32 n is an exponent in the low 9 bits; what is above them shifts out.
// 2^(n + up) for -126 <= n + up <= 127; unsigned, since NaN comes with any n.
static inline float pow2(int32_t n, uint32_t up = 0) {
  return __builtin_bit_cast(float, (static_cast<uint32_t>(n) + up + 127u) << 23);
}
// m 2^n for -252 <= n <= 254, rounded once.
static inline float scale(float m, int32_t n) {
  int32_t half = n >> 1;
  return m * pow2(half) * pow2(n - half);
}
// m 2^n for -190 <= n <= 0, rounded once.
static inline float scale_down(float m, int32_t n) { return m * pow2(n, 64) * 0x1p-64f; }

// Comparisons are written so that NaN falls through to x.
static inline float at_most(float x, float limit) { return x > limit ? limit : x; }
static inline float at_least(float x, float limit) { return x < limit ? limit : x; }

// e^(x + tail) = 2^n (1 + hi + q), |hi + q| < 0.5, for |x| < 200 and |tail| < 0.1. Adding 1.5 2^23
// rounds to an integer and leaves it in the low bits; rintf would be a library call on the
// baseline. hi has no error and q is small, so that adding them last costs little more than one
// rounding. kFine adds a term for those that return hi + q itself, where 1 + hides less.
struct Reduced {
  float hi, q;
  int32_t n;
};
template <bool kFine = false>
static inline Reduced reduce_exp(float x, float tail = 0.0f) {
  float shifted = x * 1.44269504f + 12582912.0f;
  float n = shifted - 12582912.0f;
  float hi = x - n * 0.693359375f;  // exact: 9 bits
  float lo = n * 2.12194440e-4f + tail;
  float r = hi + lo;
  float p;
  if constexpr (kFine) {
    p = 1.99475020e-4f;
    p = p * r + 1.39352353e-3f;
    p = p * r + 8.33319407e-3f;
    p = p * r + 4.16664630e-2f;
    p = p * r + 1.66666672e-1f;
  } else {
    p = 1.39507197e-3f;
    p = p * r + 8.36902484e-3f;
    p = p * r + 4.16662022e-2f;
    p = p * r + 1.66665182e-1f;
  }
  p = p * r + 0.5f;
  return {hi, p * r * r + lo, bits_of(shifted)};
}
// 1 + hi + q within 0.6 ULP; a.hi + a.q + 1 is cheaper and within 0.95.
static inline float mantissa(const Reduced& a) {
  float s = 1.0f + a.hi;
  return s + (a.hi - (s - 1.0f) + a.q);
}

// Max error 0.94 ULP (0.93 with FMA) on all floats.
static inline float exp_(float x) {
  Reduced a = reduce_exp(at_least(at_most(x, 90.0f), -105.0f));
  return scale(a.hi + a.q + 1.0f, a.n);
}

// Max error 0.87 ULP (0.85 with FMA) on [-inf, 0], which is where the activations use it; above, it
// is wrong.
static inline float expm1_(float x) {
  Reduced a = reduce_exp<true>(at_least(x, -20.0f));
  float s = pow2(a.n);
  return copysign_(s * (a.hi + a.q) + (s - 1.0f), x);  // keeps -0
}

// Max error 0.90 ULP (0.88 with FMA) on all floats. 1 - 2 / (e^2x + 1) loses digits near 0: there a
// polynomial.
static inline float tanh_(float x) {
  float a = at_most(fabs_(x), 10.0f);
  Reduced b = reduce_exp(a + a);
  float s = pow2(b.n);
  float v = s * (b.hi + b.q), w = (s + 1.0f) + v;
  float lost = v - (w - (s + 1.0f));
  float d = 2.0f / w;
  float h = 1.0f - d;  // what this and w lost would add up to more than 1 ULP
  float far = h + ((1.0f - h) - d + d * d * (0.5f * lost));
  float z = a * a;
  float p = 1.58583268e-3f;
  p = p * z - 7.41282292e-3f;
  p = p * z + 2.13061664e-2f;
  p = p * z - 5.38536310e-2f;
  p = p * z + 1.33322433e-1f;
  p = p * z - 3.33332986e-1f;
  float near = a + a * z * p;
  return copysign_(a < 0.7f ? near : far, x);
}

// x - tanh(x). Max error 3.33 ULP on all floats. Below 1 the difference would cancel: a polynomial.
// Above, a - 1 has no error and 1 - tanh(a) = 2 / (e^2a + 1) is small.
static inline float tanh_shrink_(float x) {
  float a = fabs_(x);
  Reduced b = reduce_exp(at_least(-2.0f * a, -105.0f));
  float e = scale_down(mantissa(b), b.n);
  float far = (a - 1.0f) + 2.0f * e / (1.0f + e);
  float z = a * a;
  float p = -2.08268233e-4f;
  p = p * z + 1.15822465e-3f;
  p = p * z - 3.53897060e-3f;
  p = p * z + 8.93244427e-3f;
  p = p * z - 2.19153687e-2f;
  p = p * z + 5.39785624e-2f;
  p = p * z - 1.33334130e-1f;
  p = p * z + 3.33333343e-1f;
  float near = a * (z * p);
  return copysign_(a < 1.0f ? near : far, x);
}

// Max error 1.97 ULP on all floats.
static inline float sigmoid_(float x) {
  Reduced b = reduce_exp(at_least(-fabs_(x), -105.0f));
  float e = scale_down(b.hi + b.q + 1.0f, b.n), w = 1.0f + e;
  float y = (x < 0.0f ? e : 1.0f) / w;
  return y - y * (e - (w - 1.0f));
}

// Max error 0.96 ULP for normal x > 0; +inf gives +inf, NaN gives NaN.
static inline float log_(float x) {
  // Less sqrt(1/2), so that the fraction is near 1; unsigned, since x may be anything.
  int32_t bits = static_cast<int32_t>(static_cast<uint32_t>(bits_of(x)) - 0x3f3504f3u);
  float n = static_cast<float>(bits >> 23);
  float f = float_of((bits & 0x7fffff) + 0x3f3504f3) - 1.0f;
  float p = -7.85966963e-2f;
  p = p * f + 1.28816083e-1f;
  p = p * f - 1.31287113e-1f;
  p = p * f + 1.41811967e-1f;
  p = p * f - 1.66245595e-1f;
  p = p * f + 2.00022861e-1f;
  p = p * f - 2.50008106e-1f;
  p = p * f + 3.33333164e-1f;
  p = p * f - 0.5f;
  float y = p * (f * f) + n * -2.12194440e-4f;
  return x < __builtin_inff() ? n * 0.693359375f + (f + y) : x;
}

// Max error 0.96 ULP (0.92 with FMA) on [0, 1].
static inline float log1p_unit(float u) {
  bool upper = u > 0.5f;
  float f = upper ? 0.5f * (u - 1.0f) : u;
  float p = -4.61692177e-2f;
  p = p * f + 1.05828986e-1f;
  p = p * f - 1.31868556e-1f;
  p = p * f + 1.44676685e-1f;
  p = p * f - 1.66437432e-1f;
  p = p * f + 1.99910939e-1f;
  p = p * f - 2.50001937e-1f;
  p = p * f + 3.33334476e-1f;
  p = p * f - 0.5f;
  float y = p * (f * f) + (upper ? -2.12194440e-4f : 0.0f);
  return (upper ? 0.693359375f : 0.0f) + (f + y);
}

// ln(1 + e^x). Max error 1.62 ULP (1.58 with FMA) on all floats.
static inline float softplus_(float x) {
  Reduced b = reduce_exp(at_least(-fabs_(x), -105.0f));
  float u = scale_down(mantissa(b), b.n);
  return at_least(x, 0.0f) + log1p_unit(u);
}

// SiLU, Mish and GELU are max(x, 0) - |x| g(|x|) with g falling like a power of e: the product is
// made at full precision and scaled last, so that denormal results are rounded once, and -inf gives
// 0. For SiLU and GELU f(x) - f(-x) = x, so that f'(x) = 1 - f'(-x).
// Their slopes cross 0 as differences of terms and have the absolute error of these: within 4 ULP
// at 1/8 (SiLU), 1/2 (Mish) and 1/4 (GELU).

// |x| and e^-v = 2^n m for the two that are x / (1 + e^-v), v a function of x.
struct LogisticTail {
  float a, m;
  int32_t n;
};
static inline float logistic_product(float x, LogisticTail t) {
  return at_least(x, 0.0f) - scale_down(t.a * t.m / (1.0f + scale_down(t.m, t.n)), t.n);
}
// rise is |x| dv/dx.
static inline float logistic_product_slope(float x, LogisticTail t, float rise) {
  float w = 1.0f + scale_down(t.m, t.n);
  float g = scale_down(t.m * (w - rise) / (w * w), t.n);
  return x < 0.0f ? g : 1.0f - g;
}

static inline LogisticTail silu_tail(float x) {
  float a = at_most(fabs_(x), 110.0f);
  Reduced b = reduce_exp(-a);
  return {a, mantissa(b), b.n};
}
// x / (1 + e^-x). Max error 3.12 ULP on all floats.
static inline float silu_(float x) { return logistic_product(x, silu_tail(x)); }
static inline float silu_slope(float x) {
  LogisticTail t = silu_tail(x);
  return logistic_product_slope(x, t, t.a);
}

// v = a (c1 + c3 a^2), c1 = 2 sqrt(2 / pi), c3 = 0.044715 c1, is needed to more than 24 bits: e^-v
// takes its absolute error. Factors cut to 8 or 12 bits have exact products; the rest is small.
static inline LogisticTail gelu_tanh_tail(float x) {
  float a = at_most(fabs_(x), 11.0f);
  float h = float_of(bits_of(a) & ~0xffff), rest = (a - h) * (a + h);
  float g = 1.59576912f + 0.0713548163f * (a * a);
  float g_high = float_of(bits_of(g) & ~0xfff);
  float g_low = 1.59576416015625f - g_high + 0.0712890625f * (h * h);
  g_low = g_low + (0.0713548163f * rest + (6.57537726e-5f * (h * h) + 4.96144948e-6f));
  float a_high = float_of(bits_of(a) & ~0xfff);
  Reduced b = reduce_exp(-a_high * g_high, -((a - a_high) * g_high + a * g_low));
  return {a, mantissa(b), b.n};
}
// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2. Max error 3.59 ULP on all floats.
static inline float gelu_tanh_(float x) { return logistic_product(x, gelu_tanh_tail(x)); }
static inline float gelu_tanh_slope(float x) {
  LogisticTail t = gelu_tanh_tail(x);
  return logistic_product_slope(x, t, t.a * (1.59576912f + 0.214064449f * (t.a * t.a)));
}

// x tanh(ln(1 + e^x)). Max error 3.56 ULP on all floats.
// With e = e^-|x|, w = 1 + e: 1 - e w / (w^2 + 1) below 0, 1 - 2 e^2 / (w^2 + e^2) above.
static inline float mish_(float x) {
  float a = at_most(fabs_(x), 110.0f);
  Reduced b = reduce_exp(-a);
  float m = mantissa(b), e = scale_down(m, b.n);
  bool below = x < 0.0f;
  float w = 1.0f + e;
  float r = (below ? e * w : 2.0f * e) / (w * w + (below ? 1.0f : e * e));
  return at_least(x, 0.0f) - scale_down(a * m * (below ? 1.0f - r : r), b.n);
}
static inline float mish_slope(float x) {
  float a = at_most(fabs_(x), 110.0f);
  Reduced b = reduce_exp(-a);
  float m = mantissa(b), e = scale_down(m, b.n);
  bool below = x < 0.0f;
  float w = 1.0f + e;
  float d = below ? 2.0f + e * (2.0f + e) : 1.0f + 2.0f * e * w;
  float k = below ? (e + 2.0f) * d - 4.0f * a * w : 2.0f * e * (2.0f * a * w - d);
  return (below ? 0.0f : 1.0f) + scale_down(m * k / (d * d), b.n);
}

// Q(a) = erfc(a / sqrt(2)) / 2 = 2^n m r for a = min(|x|, 15), where it is 0 times any float.
// r = Q(a) e^(a^2/2) is nearly 1 / (sqrt(2 pi) (a + 7/8)): only the 18% on top of it take the
// rounding errors of a fraction. a^2 is needed to more than 24 bits: a = h + (a - h), h^2 is exact.
struct NormalTail {
  float a, m, r;
  int32_t n;
};
static inline NormalTail normal_tail(float x) {
  float a = at_most(fabs_(x), 15.0f);
  float h = float_of(bits_of(a) & ~0xfff);
  float p = 5.03392657e-3f;
  p = p * a + 3.82140428e-2f;
  p = p * a + 1.33419856e-1f;
  p = p * a + 2.18138218e-1f;
  p = p * a + 3.85577045e-2f;
  float q = 1.44217061e-2f;
  q = q * a + 1.25911489e-1f;
  q = q * a + 5.41385889e-1f;
  q = q * a + 1.31045187f;
  q = q * a + 1.74316502f;
  q = q * a + 1.0f;
  float w = a + 0.875f, lost = a - (w - 0.875f);
  float r = (0.398942280f + p / q) / w;
  // 1 / (w + lost) = e^(-lost / w) / w, and 1 / w is 2.3 r within a tenth.
  Reduced b = reduce_exp(-0.5f * h * h, -0.5f * (a - h) * (a + h) - 2.3f * lost * r);
  return {a, mantissa(b), r, b.n};
}
// x (1 + erf(x / sqrt(2))) / 2. Max error 3.35 ULP on all floats.
static inline float gelu_(float x) {
  NormalTail t = normal_tail(x);
  return at_least(x, 0.0f) - scale_down(t.a * t.m * t.r, t.n);
}
static inline float gelu_slope(float x) {
  NormalTail t = normal_tail(x);
  float g = scale_down(t.m * (t.r - 0.398942280f * t.a), t.n);
  return x < 0.0f ? g : 1.0f - g;
}

}  // namespace evengrad::EVENGRAD_TARGET
