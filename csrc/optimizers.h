// Updates of the variables, with clipping in the same pass over memory. Keras' formulas.
#pragma once
#include "clip.h"
#include "fastmath.h"

namespace evengrad::EVENGRAD_TARGET {

static inline float sqrt_(float x) { return __builtin_sqrtf(x); }

// Adaptive updates do not depend on the scale of gradients, but their squares must be finite.
static inline Clipping square_safe(Clipping c) {
  c.limit = at_most(c.limit, 1e19f);
  return c;
}

// m = momentum m - rate g; w += m, or with Nesterov w += momentum m - rate g. slot: m, or null.
static void sgd(const Update& a, const Step& step, const Team& team) {
  const float rate = static_cast<float>(step.learning_rate), momentum = static_cast<float>(a.a);
  for_clipped(a, step, team, [=](const Chunk& chunk, const Clipping& c) {
    float *w = chunk.value, *m = chunk.slot[0];
    const float* g = chunk.gradient;
    if (!m) {
#pragma omp simd
      for (int64_t i = 0; i < chunk.length; ++i) w[i] -= rate * clipped(g[i], c);
      return;
    }
    const float ahead = a.variant ? momentum : 1.0f, rest = a.variant ? rate : 0.0f;
#pragma omp simd
    for (int64_t i = 0; i < chunk.length; ++i) {
      const float gradient = clipped(g[i], c);
      m[i] = momentum * m[i] - rate * gradient;
      w[i] += ahead * m[i] - rest * gradient;
    }
  });
}

// Kingma & Ba, 2014 (arXiv:1412.6980): m += (1 - beta_1)(g - m), v += (1 - beta_2)(g^2 - v),
// w -= rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon).
// Slots: m, v and, for AMSGrad (arXiv:1904.09237), the largest v so far.
static void adam(const Update& a, const Step& step, const Team& team) {
  const double t = static_cast<double>(step.iteration);
  const float rate =
      static_cast<float>(step.learning_rate * __builtin_sqrt(1.0 - __builtin_pow(a.b, t)) /
                         (1.0 - __builtin_pow(a.a, t)));
  const float keep_m = static_cast<float>(1.0 - a.a), keep_v = static_cast<float>(1.0 - a.b);
  const float epsilon = static_cast<float>(a.epsilon);
  for_clipped(a, step, team, [=](const Chunk& chunk, const Clipping& given) {
    const Clipping c = square_safe(given);
    float *w = chunk.value, *m = chunk.slot[0], *v = chunk.slot[1], *most = chunk.slot[2];
    const float* g = chunk.gradient;
    if (most) {
#pragma omp simd
      for (int64_t i = 0; i < chunk.length; ++i) {
        const float gradient = clipped(g[i], c);
        m[i] += keep_m * (gradient - m[i]);
        v[i] += keep_v * (gradient * gradient - v[i]);
        most[i] = v[i] > most[i] ? v[i] : most[i];
        w[i] -= rate * m[i] / (sqrt_(most[i]) + epsilon);
      }
      return;
    }
#pragma omp simd
    for (int64_t i = 0; i < chunk.length; ++i) {
      const float gradient = clipped(g[i], c);
      m[i] += keep_m * (gradient - m[i]);
      v[i] += keep_v * (gradient * gradient - v[i]);
      w[i] -= rate * m[i] / (sqrt_(v[i]) + epsilon);
    }
  });
}

// Hinton, 2012: v = rho v + (1 - rho) g^2, step = rate g / sqrt(v - mean^2 + epsilon), the mean
// only when centered. Slots: v, momentum or null, mean or null.
static void rmsprop(const Update& a, const Step& step, const Team& team) {
  const float rate = static_cast<float>(step.learning_rate), rho = static_cast<float>(a.a);
  const float rest = static_cast<float>(1.0 - a.a), momentum = static_cast<float>(a.b);
  const float epsilon = static_cast<float>(a.epsilon);
  for_clipped(a, step, team, [=](const Chunk& chunk, const Clipping& given) {
    const Clipping c = square_safe(given);
    float *w = chunk.value, *v = chunk.slot[0], *m = chunk.slot[1], *mean = chunk.slot[2];
    const float* g = chunk.gradient;
#pragma omp simd
    for (int64_t i = 0; i < chunk.length; ++i) {
      const float gradient = clipped(g[i], c);
      v[i] = rho * v[i] + rest * gradient * gradient;
      float spread = v[i];
      if (mean) {
        mean[i] = rho * mean[i] + rest * gradient;
        spread = at_least(spread - mean[i] * mean[i], 0.0f);  // rounding may make it negative
      }
      spread += epsilon;
      float move = rate * gradient / sqrt_(spread);
      if (m) {
        m[i] = momentum * m[i] + move;
        move = m[i];
      }
      w[i] -= move;
    }
  });
}

}  // namespace evengrad::EVENGRAD_TARGET
