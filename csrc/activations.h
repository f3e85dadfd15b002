// The activation family. One struct an activation: what it is called, its formula, its parameters
// with defaults, its value f(x), its slope f'(x) from x and y = f(x). kNeedsInput says that the
// slope reads x; otherwise the forward may overwrite x. The type list at the end makes the rest.
#pragma once
#include "fastmath.h"
#include "parallel.h"

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
    return x < p[2] ? p[1] * (x - p[2]) : at_most(x, p[0]);
  }
  static inline float slope(float x, float, const float* p) {
    return x > p[2] ? (x < p[0] ? 1.0f : 0.0f) : p[1];
  }
};

struct LeakyRelu {
  static constexpr Info kInfo{
      "leaky_relu", "x if x >= 0 else negative_slope x", {{"negative_slope", 0.2f, 0.0f}}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float* p) { return x < 0.0f ? p[0] * x : x; }
  static inline float slope(float, float y, const float* p) { return y > 0.0f ? 1.0f : p[0]; }
};

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

struct Softplus {
  static constexpr Info kInfo{"softplus", "ln(1 + e^x)", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) { return softplus_(x); }
  static inline float slope(float, float y, const float*) { return -expm1_(-y); }
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

struct Sigmoid {
  static constexpr Info kInfo{"sigmoid", "1 / (1 + e^-x)", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) { return sigmoid_(x); }
  static inline float slope(float, float y, const float*) { return y * (1.0f - y); }
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

struct Exponential {
  static constexpr Info kInfo{"exponential", "e^x", {}};
  static constexpr bool kNeedsInput = false;
  static inline float value(float x, const float*) { return exp_(x); }
  static inline float slope(float, float y, const float*) { return y; }
};

template <class... F>
struct TypeList {};
using Family = TypeList<Linear, Relu, Relu6, ReluGeneral, LeakyRelu, Elu, Selu, Softplus, Softsign,
                        Silu, Mish, Gelu, GeluTanh, Tanh, Sigmoid, HardSigmoid, Exponential>;

// y = f(x) on the caller's share of the batch; y may be x.
template <class F>
static void activation_forward(const ActivationForward& a, const Step& step, const Team& team) {
  const Share share = share_of(a.x, step, team);
  const float p[3] = {a.parameter[0], a.parameter[1], a.parameter[2]};
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float* x = a.x.data + r * a.x.pitch;
    float* y = a.y.data + r * a.y.pitch;
#pragma omp simd
    for (int64_t c = share.columns.begin; c < share.columns.end; ++c) y[c] = F::value(x[c], p);
  }
}

// dx = dy f'(x) on the caller's share; dx may be dy. The padding of dx stays 0 with that of dy.
template <class F>
static void activation_backward(const ActivationBackward& a, const Step& step, const Team& team) {
  const Share share = share_of(a.y, step, team);
  const float p[3] = {a.parameter[0], a.parameter[1], a.parameter[2]};
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float* x = (F::kNeedsInput ? a.x.data + r * a.x.pitch : a.y.data + r * a.y.pitch);
    const float* y = a.y.data + r * a.y.pitch;
    const float* dy = a.dy.data + r * a.dy.pitch;
    float* dx = a.dx.data + r * a.dx.pitch;
#pragma omp simd
    for (int64_t c = share.columns.begin; c < share.columns.end; ++c) {
      dx[c] = dy[c] * F::slope(x[c], y[c], p);
    }
  }
}

template <class F>
static constexpr Activation entry() {
  const Info& info = F::kInfo;
  Activation a{};
  a.name = info.name;
  a.formula = info.formula;
  a.needs_input = F::kNeedsInput;
  for (int i = 0; i < 3 && info.parameters[i].name; ++i) {
    a.parameter_name[i] = info.parameters[i].name;
    a.parameter_default[i] = info.parameters[i].value;
    a.parameter_minimum[i] = info.parameters[i].minimum;
    a.parameters = i + 1;
  }
  a.forward = erase<ActivationForward, activation_forward<F>>();
  a.backward = erase<ActivationBackward, activation_backward<F>>();
  return a;
}

template <class... F>
struct Table {
  static constexpr int kCount = sizeof...(F);
  Activation entries[kCount];
};
template <class... F>
static constexpr Table<F...> table_of(TypeList<F...>) {
  return {{entry<F>()...}};
}

}  // namespace evengrad::EVENGRAD_TARGET
