// The smooth part of the activation family, in the form that activations_piecewise.h describes.
#pragma once
#include "activations_piecewise.h"

namespace evengrad::EVENGRAD_TARGET {

struct Elu {
  static constexpr Info kInfo{"elu", "x if x > 0 else alpha (e^x - 1)", {{"alpha", 1.0f, 0.0f}}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float* p) {
    float negative = p[0] * expm1_(at_most(x, 0.0f));
    return x > 0.0f ? x : negative;
  }
  static inline float slope(float, float y, const float* p) { return y > 0.0f ? 1.0f : y + p[0]; }
};

struct Selu {
  static constexpr Info kInfo{"selu", "1.05070099 (x if x > 0 else 1.67326324 (e^x - 1))", {}};
  static constexpr bool kNeedsInput = false;
  static constexpr float kScale = 1.0507009873554804934193349852946f;
  static constexpr float kScaleAlpha = 1.7580993408473768599402175208123f;
  static inline float value(float x, const float*) {
    float negative = kScaleAlpha * expm1_(at_most(x, 0.0f));
    return x > 0.0f ? kScale * x : negative;
  }
  static inline float slope(float, float y, const float*) {
    return y > 0.0f ? kScale : y + kScaleAlpha;
  }
};

struct Celu {
  static constexpr Info kInfo{
      "celu", "x if x > 0 else alpha (e^(x / alpha) - 1)", {{"alpha", 1.0f, __FLT_MIN__}}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float* p) {
    float negative = p[0] * expm1_(at_most(x, 0.0f) / p[0]);
    return x > 0.0f ? x : negative;
  }
  static inline float slope(float, float y, const float* p) {
    return y > 0.0f ? 1.0f : y / p[0] + 1.0f;
  }
};

struct Softplus {
  static constexpr Info kInfo{"softplus", "ln(1 + e^x)", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) { return softplus_(x); }
  static inline float slope(float, float y, const float*) { return -expm1_(-y); }
};

// (x + s) / 2 with s = sqrt(x^2 + b) cancels below 0; (s - |x|) / 2 is b / (s + |x|) / 2. Far out
// all is taken times 2^-64, where squares do not overflow. As y (y - x) = b / 4, the slope is
// r^2 / (r^2 + 1) with r = 2 y / sqrt(b).
struct Squareplus {
  static constexpr Info kInfo{"squareplus", "(x + sqrt(x^2 + b)) / 2", {{"b", 4.0f, 0.0f}}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float* p) {
    float k = fabs_(x) > 0x1p60f || p[0] > 0x1p120f ? 0x1p-64f : 1.0f;
    float a = fabs_(x) * k, b = p[0] * k;
    float s = __builtin_sqrtf(a * a + b * k);
    // b = 0 at x = 0 would be 0 over 0
    return at_least(x, 0.0f) + b / at_least(2.0f * (s + a), __FLT_MIN__);
  }
  static inline float slope(float, float y, const float* p) {
    // 8192 and what is above give 1
    float r = y > 0.0f ? at_most(y * (2.0f / __builtin_sqrtf(p[0])), 8192.0f) : 0.0f;
    return r * r / (r * r + 1.0f);
  }
};

struct Softsign {
  static constexpr Info kInfo{"softsign", "x / (1 + |x|)", {}};
  static constexpr bool kNeedsInput = true;
  static inline float value(float x, const float*) {
    float a = at_most(fabs_(x), 1e9f);  // infinity over infinity would be NaN
    return copysign_(a / (1.0f + a), x);
  }
  static inline float slope(float x, float, const float*) {
    float r = 1.0f / (1.0f + fabs_(x));
    return r * r;
  }
};

struct Silu {
  static constexpr Info kInfo{"silu", "x / (1 + e^-x)", {}};
  static constexpr bool kNeedsInput = true;
  static inline float value(float x, const float*) { return silu_(x); }
  static inline float slope(float x, float, const float*) { return silu_slope(x); }
};

struct Mish {
  static constexpr Info kInfo{"mish", "x tanh(ln(1 + e^x))", {}};
  static constexpr bool kNeedsInput = true;
  static inline float value(float x, const float*) { return mish_(x); }
  static inline float slope(float x, float, const float*) { return mish_slope(x); }
};

struct Gelu {
  static constexpr Info kInfo{"gelu", "x (1 + erf(x / sqrt(2))) / 2", {}};
  static constexpr bool kNeedsInput = true;
  static inline float value(float x, const float*) { return gelu_(x); }
  static inline float slope(float x, float, const float*) { return gelu_slope(x); }
};

struct GeluTanh {
  static constexpr Info kInfo{"gelu_tanh", "x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2", {}};
  static constexpr bool kNeedsInput = true;
  static inline float value(float x, const float*) { return gelu_tanh_(x); }
  static inline float slope(float x, float, const float*) { return gelu_tanh_slope(x); }
};

struct Tanh {
  static constexpr Info kInfo{"tanh", "tanh(x)", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) { return tanh_(x); }
  static inline float slope(float, float y, const float*) { return (1.0f - y) * (1.0f + y); }
};

struct TanhShrink {
  static constexpr Info kInfo{"tanh_shrink", "x - tanh(x)", {}};
  static constexpr bool kNeedsInput = true;
  static inline float value(float x, const float*) { return tanh_shrink_(x); }
  static inline float slope(float x, float, const float*) {
    float t = tanh_(x);
    return t * t;
  }
};

struct Sigmoid {
  static constexpr Info kInfo{"sigmoid", "1 / (1 + e^-x)", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) { return sigmoid_(x); }
  static inline float slope(float, float y, const float*) { return y * (1.0f - y); }
};

struct LogSigmoid {
  static constexpr Info kInfo{"log_sigmoid", "-ln(1 + e^-x)", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) { return -softplus_(-x); }
  static inline float slope(float, float y, const float*) { return -expm1_(y); }
};

struct Exponential {
  static constexpr Info kInfo{"exponential", "e^x", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) { return exp_(x); }
  static inline float slope(float, float y, const float*) { return y; }
};

}  // namespace evengrad::EVENGRAD_TARGET
