// Updates of the variables, with weight decay and clipping in the same pass over memory. Keras'
// formulas; those of Adam's family are in adam.h.
#pragma once
#include "clip.h"
#include "fastmath.h"

namespace evengrad::EVENGRAD_TARGET {

static inline float sqrt_(float x) { return __builtin_sqrtf(x); }

static inline Clipping limited(Clipping c, float limit) {
  c.limit = at_most(c.limit, limit);
  return c;
}
// Adaptive updates do not depend on the scale of gradients, but their squares must be finite.
static inline Clipping square_safe(const Clipping& c) { return limited(c, 1e19f); }
// The difference of two gradients must be finite.
static inline Clipping difference_safe(const Clipping& c) { return limited(c, 1e38f); }

// m = momentum m - rate g; w += m, or with Nesterov w += momentum m - rate g. slot: m, or null.
static void sgd(const Update& a, const Step& step, const Team& team) {
  const float rate = static_cast<float>(step.learning_rate), momentum = static_cast<float>(a.a);
  for_clipped(a, step, team, [=](const Chunk& chunk, const Clipping& c) {
    float *w = chunk.value, *m = chunk.slot[0];
    const float* g = chunk.gradient;
    float values = 0.0f, moves = 0.0f;
    if (!m) {
#pragma omp simd reduction(+ : values, moves)
      for (int64_t i = 0; i < chunk.length; ++i) {
        const float before = w[i];
        w[i] = decayed(before, c) - rate * clipped(g[i], c);
        add_squares(before, w[i], values, moves);
      }
      return Moved{values, moves};
    }
    const float ahead = a.variant ? momentum : 1.0f, rest = a.variant ? rate : 0.0f;
#pragma omp simd reduction(+ : values, moves)
    for (int64_t i = 0; i < chunk.length; ++i) {
      const float gradient = clipped(g[i], c);
      m[i] = momentum * m[i] - rate * gradient;
      const float before = w[i];
      w[i] = decayed(before, c) + (ahead * m[i] - rest * gradient);
      add_squares(before, w[i], values, moves);
    }
    return Moved{values, moves};
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
    float values = 0.0f, moves = 0.0f;
#pragma omp simd reduction(+ : values, moves)
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
      const float before = w[i];
      w[i] = decayed(before, c) - move;
      add_squares(before, w[i], values, moves);
    }
    return Moved{values, moves};
  });
}

// Duchi, Hazan, Singer, 2011: v += g^2, w -= rate g / sqrt(v + epsilon). Slot: v.
static void adagrad(const Update& a, const Step& step, const Team& team) {
  constexpr float kLargestSum = 3e38f;
  const float rate = static_cast<float>(step.learning_rate);
  const float epsilon = static_cast<float>(a.epsilon);
  for_clipped(a, step, team, [=](const Chunk& chunk, const Clipping& given) {
    const Clipping c = square_safe(given);
    float *w = chunk.value, *v = chunk.slot[0];
    const float* g = chunk.gradient;
    float values = 0.0f, moves = 0.0f;
#pragma omp simd reduction(+ : values, moves)
    for (int64_t i = 0; i < chunk.length; ++i) {
      const float gradient = clipped(g[i], c);
      v[i] = at_most(v[i] + gradient * gradient, kLargestSum);
      const float before = w[i];
      w[i] = decayed(before, c) - rate * gradient / sqrt_(v[i] + epsilon);
      add_squares(before, w[i], values, moves);
    }
    return Moved{values, moves};
  });
}

// Zeiler, 2012 (arXiv:1212.5701): v = rho v + (1 - rho) g^2, d = g sqrt(s + epsilon) /
// sqrt(v + epsilon), s = rho s + (1 - rho) d^2, w -= rate d. Slots: v, s.
static void adadelta(const Update& a, const Step& step, const Team& team) {
  const float rate = static_cast<float>(step.learning_rate), rho = static_cast<float>(a.a);
  const float rest = static_cast<float>(1.0 - a.a), epsilon = static_cast<float>(a.epsilon);
  for_clipped(a, step, team, [=](const Chunk& chunk, const Clipping& given) {
    const Clipping c = square_safe(given);
    float *w = chunk.value, *v = chunk.slot[0], *s = chunk.slot[1];
    const float* g = chunk.gradient;
    float values = 0.0f, moves = 0.0f;
#pragma omp simd reduction(+ : values, moves)
    for (int64_t i = 0; i < chunk.length; ++i) {
      const float gradient = clipped(g[i], c);
      v[i] = rho * v[i] + rest * gradient * gradient;
      // Roots first: the ratio of what is under them may be denormal.
      const float move = gradient * (sqrt_(s[i] + epsilon) / sqrt_(v[i] + epsilon));
      s[i] = rho * s[i] + rest * move * move;
      const float before = w[i];
      w[i] = decayed(before, c) - rate * move;
      add_squares(before, w[i], values, moves);
    }
    return Moved{values, moves};
  });
}

// Chen et al., 2023 (arXiv:2302.06675): w -= rate sign(beta_1 m + (1 - beta_1) g), then
// m = beta_2 m + (1 - beta_2) g. Slot: m.
static void lion(const Update& a, const Step& step, const Team& team) {
  const float rate = static_cast<float>(step.learning_rate);
  const float keep_1 = static_cast<float>(a.a), rest_1 = static_cast<float>(1.0 - a.a);
  const float keep_2 = static_cast<float>(a.b), rest_2 = static_cast<float>(1.0 - a.b);
  for_clipped(a, step, team, [=](const Chunk& chunk, const Clipping& given) {
    const Clipping c = difference_safe(given);
    float *w = chunk.value, *m = chunk.slot[0];
    const float* g = chunk.gradient;
    float values = 0.0f, moves = 0.0f;
#pragma omp simd reduction(+ : values, moves)
    for (int64_t i = 0; i < chunk.length; ++i) {
      const float gradient = clipped(g[i], c);
      const float way = keep_1 * m[i] + rest_1 * gradient;
      const float sign = way > 0.0f ? 1.0f : way < 0.0f ? -1.0f : way;  // 0 and NaN are their own
      const float before = w[i];
      w[i] = decayed(before, c) - rate * sign;
      add_squares(before, w[i], values, moves);
      m[i] = keep_2 * m[i] + rest_2 * gradient;
    }
    return Moved{values, moves};
  });
}

}  // namespace evengrad::EVENGRAD_TARGET
