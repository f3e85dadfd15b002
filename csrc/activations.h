// The list of the activation family, and all that is made from it: loops forward and backward, and
// the table that Python, the tests and the benchmarks read.
#pragma once
#include "activations_smooth.h"
#include "parallel.h"

namespace evengrad::EVENGRAD_TARGET {

template <class... F>
struct TypeList {};
using Family = TypeList<Linear, Relu, Relu6, ReluGeneral, LeakyRelu, HardSigmoid, HardSilu,
                        SparsePlus, SparseSigmoid, HardTanh, HardShrink, SoftShrink, Threshold, Elu,
                        Selu, Celu, Softplus, Squareplus, Softsign, Silu, Mish, Gelu, GeluTanh,
                        Tanh, TanhShrink, Sigmoid, LogSigmoid, Exponential>;

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
