// Adam and what was made of it, with weight decay and clipping in the same pass. Keras' formulas.
#pragma once
#include "optimizers.h"

namespace evengrad::EVENGRAD_TARGET {

// Kingma & Ba, 2014 (arXiv:1412.6980): m += (1 - beta_1)(g - m), v += (1 - beta_2)(g^2 - v),
// w -= rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon).
// Slots: m, v and, for AMSGrad (arXiv:1904.09237), the largest v so far.
static void adam(const Update& a, const Step& step, const Team& team) {
  const double t = static_cast<double>(update_number(step));
  const float rate =
      static_cast<float>(step.learning_rate * __builtin_sqrt(1.0 - __builtin_pow(a.b, t)) /
                         (1.0 - __builtin_pow(a.a, t)));
  const float keep_m = static_cast<float>(1.0 - a.a), keep_v = static_cast<float>(1.0 - a.b);
  const float epsilon = static_cast<float>(a.epsilon);
  for_clipped(a, step, team, [=](const Chunk& chunk, const Clipping& given) {
    const Clipping c = square_safe(given);
    float *w = chunk.value, *m = chunk.slot[0], *v = chunk.slot[1], *most = chunk.slot[2];
    const float* g = chunk.gradient;
    float values = 0.0f, moves = 0.0f;
    if (most) {
#pragma omp simd reduction(+ : values, moves)
      for (int64_t i = 0; i < chunk.length; ++i) {
        const float gradient = clipped(g[i], c);
        m[i] += keep_m * (gradient - m[i]);
        v[i] += keep_v * (gradient * gradient - v[i]);
        most[i] = v[i] > most[i] ? v[i] : most[i];
        const float before = w[i];
        w[i] = decayed(before, c) - rate * m[i] / (sqrt_(most[i]) + epsilon);
        add_squares(before, w[i], values, moves);
      }
      return Moved{values, moves};
    }
#pragma omp simd reduction(+ : values, moves)
    for (int64_t i = 0; i < chunk.length; ++i) {
      const float gradient = clipped(g[i], c);
      m[i] += keep_m * (gradient - m[i]);
      v[i] += keep_v * (gradient * gradient - v[i]);
      const float before = w[i];
      w[i] = decayed(before, c) - rate * m[i] / (sqrt_(v[i]) + epsilon);
      add_squares(before, w[i], values, moves);
    }
    return Moved{values, moves};
  });
}

// Nadam's weights of the momentum are beta_1 (1 - 0.96^t / 2); entry t of the list is the product
// of the brackets up to t. From the last one on they are 1 in double.
constexpr int64_t kNadamLast = 911;
struct NadamProducts {
  double of[kNadamLast + 1];
};
static constexpr NadamProducts nadam_products() {
  NadamProducts products{};
  double product = 1.0, power = 1.0;
  for (double& entry : products.of) {
    entry = product;
    power *= 0.96;
    product *= 1.0 - 0.5 * power;
  }
  return products;
}

// Dozat, 2016: m and v as Adam's; with u_t = beta_1 (1 - 0.96^t / 2) and U_t the product of u_1 to
// u_t, n = u_{t+1} m / (1 - U_{t+1}) + (1 - u_t) g / (1 - U_t),
// w -= rate n / (sqrt(v / (1 - beta_2^t)) + epsilon). Slots: m, v.
static void nadam(const Update& a, const Step& step, const Team& team) {
  static constexpr NadamProducts kProducts = nadam_products();
  const int64_t number = update_number(step);
  const double t = static_cast<double>(number);
  const double u = a.a * (1.0 - 0.5 * __builtin_pow(0.96, t));
  const double u_next = a.a * (1.0 - 0.5 * __builtin_pow(0.96, t + 1.0));
  const double product =
      __builtin_pow(a.a, t) * kProducts.of[number < kNadamLast ? number : kNadamLast];
  const float by_m = static_cast<float>(step.learning_rate * u_next / (1.0 - product * u_next));
  const float by_g = static_cast<float>(step.learning_rate * (1.0 - u) / (1.0 - product));
  const float unbias = static_cast<float>(1.0 / __builtin_sqrt(1.0 - __builtin_pow(a.b, t)));
  const float keep_m = static_cast<float>(1.0 - a.a), keep_v = static_cast<float>(1.0 - a.b);
  const float epsilon = static_cast<float>(a.epsilon);
  for_clipped(a, step, team, [=](const Chunk& chunk, const Clipping& given) {
    const Clipping c = square_safe(given);
    float *w = chunk.value, *m = chunk.slot[0], *v = chunk.slot[1];
    const float* g = chunk.gradient;
    float values = 0.0f, moves = 0.0f;
#pragma omp simd reduction(+ : values, moves)
    for (int64_t i = 0; i < chunk.length; ++i) {
      const float gradient = clipped(g[i], c);
      m[i] += keep_m * (gradient - m[i]);
      v[i] += keep_v * (gradient * gradient - v[i]);
      const float move = (by_m * m[i] + by_g * gradient) / (unbias * sqrt_(v[i]) + epsilon);
      const float before = w[i];
      w[i] = decayed(before, c) - move;
      add_squares(before, w[i], values, moves);
    }
    return Moved{values, moves};
  });
}

// Kingma & Ba, 2014, section 7: m as Adam's, u = max(beta_2 u, |g|),
// w -= rate / (1 - beta_1^t) m / (u + epsilon). Slots: m, u.
static void adamax(const Update& a, const Step& step, const Team& team) {
  const double t = static_cast<double>(update_number(step));
  const float rate = static_cast<float>(step.learning_rate / (1.0 - __builtin_pow(a.a, t)));
  const float keep_m = static_cast<float>(1.0 - a.a), beta_2 = static_cast<float>(a.b);
  const float epsilon = static_cast<float>(a.epsilon);
  for_clipped(a, step, team, [=](const Chunk& chunk, const Clipping& given) {
    const Clipping c = difference_safe(given);
    float *w = chunk.value, *m = chunk.slot[0], *u = chunk.slot[1];
    const float* g = chunk.gradient;
    float values = 0.0f, moves = 0.0f;
#pragma omp simd reduction(+ : values, moves)
    for (int64_t i = 0; i < chunk.length; ++i) {
      const float gradient = clipped(g[i], c);
      m[i] += keep_m * (gradient - m[i]);
      u[i] = at_least(gradient < 0.0f ? -gradient : gradient, beta_2 * u[i]);
      const float before = w[i];
      w[i] = decayed(before, c) - rate * (m[i] / (u[i] + epsilon));
      add_squares(before, w[i], values, moves);
    }
    return Moved{values, moves};
  });
}

}  // namespace evengrad::EVENGRAD_TARGET
