// The part of the activation family that is pieces of polynomials. One struct an activation: what
// it is called, its formula, its parameters with defaults, its value f(x), its slope f'(x) from x
// and y = f(x); at a kink, one of its two. kNeedsInput says that the slope reads x; otherwise the
// forward may overwrite x.
#pragma once
#include "fastmath.h"

namespace evengrad::EVENGRAD_TARGET {

struct Parameter {
  const char* name;
  float value;
  float minimum = -__builtin_inff();
};
struct Info {
  const char *name, *formula;
  Parameter parameters[3];
};

// A slope of 0 is 0 at -inf too, as in ReLU.
static inline float times(float slope, float x) { return slope == 0.0f ? 0.0f : slope * x; }

struct Linear {
  static constexpr Info kInfo{"linear", "x", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) { return x; }
  static inline float slope(float, float, const float*) { return 1.0f; }
};

struct Relu {
  static constexpr Info kInfo{"relu", "max(x, 0)", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) { return at_least(x, 0.0f); }
  static inline float slope(float, float y, const float*) { return y > 0.0f ? 1.0f : 0.0f; }
};

struct Relu6 {
  static constexpr Info kInfo{"relu6", "min(max(x, 0), 6)", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) { return at_most(at_least(x, 0.0f), 6.0f); }
  static inline float slope(float, float y, const float*) {
    return y > 0.0f && y < 6.0f ? 1.0f : 0.0f;
  }
};

struct ReluGeneral {
  static constexpr Info kInfo{
      "relu_general",
      "max_value if x >= max_value; x if x >= threshold; else negative_slope (x - threshold)",
      {{"max_value", __builtin_inff(), 0.0f}, {"negative_slope", 0.0f}, {"threshold", 0.0f}}};
  static constexpr bool kNeedsInput = true;
  static inline float value(float x, const float* p) {
    return x < p[2] ? times(p[1], x - p[2]) : at_most(x, p[0]);
  }
  static inline float slope(float x, float, const float* p) {
    return x > p[2] ? (x < p[0] ? 1.0f : 0.0f) : p[1];
  }
};

struct LeakyRelu {
  static constexpr Info kInfo{
      "leaky_relu", "x if x >= 0 else negative_slope x", {{"negative_slope", 0.2f, 0.0f}}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float* p) { return x < 0.0f ? times(p[0], x) : x; }
  static inline float slope(float, float y, const float* p) { return y > 0.0f ? 1.0f : p[0]; }
};

struct HardSigmoid {
  static constexpr Info kInfo{"hard_sigmoid", "min(max(x + 3, 0), 6) / 6", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) {
    return at_most(at_least(x + 3.0f, 0.0f), 6.0f) * (1.0f / 6.0f);
  }
  static inline float slope(float, float y, const float*) {
    return y > 0.0f && y < 1.0f ? 1.0f / 6.0f : 0.0f;
  }
};

struct HardSilu {
  static constexpr Info kInfo{"hard_silu", "x min(max(x + 3, 0), 6) / 6", {}};
  static constexpr bool kNeedsInput = true;
  static inline float value(float x, const float*) {
    // -inf times 0 would be NaN
    return at_least(x, -3.0f) * (at_most(at_least(x + 3.0f, 0.0f), 6.0f) * (1.0f / 6.0f));
  }
  static inline float slope(float x, float, const float*) {
    float between = (2.0f * x + 3.0f) * (1.0f / 6.0f);
    return x > -3.0f ? (x < 3.0f ? between : 1.0f) : 0.0f;
  }
};

struct SparsePlus {
  static constexpr Info kInfo{"sparse_plus", "0 if x <= -1; x if x >= 1; else (x + 1)^2 / 4", {}};
  static constexpr bool kNeedsInput = true;
  static inline float value(float x, const float*) {
    float t = at_most(at_least(x + 1.0f, 0.0f), 2.0f);
    return x >= 1.0f ? x : 0.25f * (t * t);
  }
  static inline float slope(float x, float, const float*) {
    return 0.5f * at_most(at_least(x + 1.0f, 0.0f), 2.0f);
  }
};

struct SparseSigmoid {
  static constexpr Info kInfo{"sparse_sigmoid", "min(max(x + 1, 0), 2) / 2", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) {
    return 0.5f * at_most(at_least(x + 1.0f, 0.0f), 2.0f);
  }
  static inline float slope(float, float y, const float*) {
    return y > 0.0f && y < 1.0f ? 0.5f : 0.0f;
  }
};

struct HardTanh {
  static constexpr Info kInfo{"hard_tanh", "min(max(x, -1), 1)", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) { return at_most(at_least(x, -1.0f), 1.0f); }
  static inline float slope(float, float y, const float*) {
    return y > -1.0f && y < 1.0f ? 1.0f : 0.0f;
  }
};

struct HardShrink {
  static constexpr Info kInfo{
      "hard_shrink", "x if |x| > threshold else 0", {{"threshold", 0.5f, 0.0f}}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float* p) { return fabs_(x) <= p[0] ? 0.0f : x; }
  static inline float slope(float, float y, const float*) { return y != 0.0f ? 1.0f : 0.0f; }
};

struct SoftShrink {
  static constexpr Info kInfo{"soft_shrink",
                              "x - threshold if x > threshold; x + threshold if x < -threshold; "
                              "else 0",
                              {{"threshold", 0.5f, 0.0f}}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float* p) {
    return x - at_most(at_least(x, -p[0]), p[0]);
  }
  static inline float slope(float, float y, const float*) { return y != 0.0f ? 1.0f : 0.0f; }
};

struct Threshold {
  static constexpr Info kInfo{"threshold",
                              "x if x > threshold else default_value",
                              {{"threshold", 0.0f}, {"default_value", 0.0f}}};
  static constexpr bool kNeedsInput = true;  // default_value may lie anywhere
  static inline float value(float x, const float* p) { return x <= p[0] ? p[1] : x; }
  static inline float slope(float x, float, const float* p) { return x > p[0] ? 1.0f : 0.0f; }
};

}  // namespace evengrad::EVENGRAD_TARGET
