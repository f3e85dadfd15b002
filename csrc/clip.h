// Gradient norms and clipping over chunks of the variables. Norms are sums of squares in double:
// exact enough for every finite float32 gradient, from denormals to the largest.
#pragma once
#include "parallel.h"

namespace evengrad::EVENGRAD_TARGET {

// The chunks of variable v that one thread takes: those whose gradient it computed, as dense_dw
// shares the rows, so that they are still in its cache.
static inline Range part_of_variable(const ChunkedVariables& variables, int64_t v,
                                     const Team& team) {
  const int64_t begin = variables.starts[v];
  const Range mine = part(variables.starts[v + 1] - begin, team);
  return {begin + mine.begin, begin + mine.end};
}

static inline double square_sum(const float* g, int64_t length) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < length; ++i) {
    const double x = g[i];
    sum += x * x;
  }
  return sum;
}

// A gradient that moves a number by more is a step into infinity.
constexpr double kLargestMove = 1e37;

// norms[variable] = sum of squares of its gradient, which cannot overflow for finite ones. The
// first variable with a NaN, an infinity or a move out of float32's range fails the step.
static void gradient_norms(const GradientNorms& a, const Step& step, const Team& team) {
  const ChunkedVariables& variables = a.variables;
  for (int64_t v = 0; v < variables.count; ++v) {
    const Range mine = part_of_variable(variables, v, team);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      a.partial[i] = square_sum(variables.chunks[i].gradient, variables.chunks[i].length);
    }
  }
  team.wait();
  if (team.rank != 0) return;
  for (int64_t v = 0; v < variables.count; ++v) {
    a.norms[v] = 0.0;
    for (int64_t i = variables.starts[v]; i < variables.starts[v + 1]; ++i) {
      a.norms[v] += a.partial[i];
    }
    const double norm = __builtin_sqrt(a.norms[v]);  // at least the largest element
    const double move = step.learning_rate * (norm > step.clip ? step.clip : norm);
    const bool finite = __builtin_isfinite(norm) && move < kLargestMove;
    if (!finite) fail(step.control, Failure::kGradient, v);
  }
}

// What clipping does to a gradient: times both factors, then held inside [-limit, limit].
// Two factors because one may be denormal in float32 when the norm is near the largest number.
struct Clipping {
  float first, second, limit;
  float shrink = 0.0f;  // what weight decay takes of a value: learning rate * decay
};
static inline float clipped(float g, const Clipping& c) {
  g = g * c.first * c.second;
  g = g > c.limit ? c.limit : g;
  return g < -c.limit ? -c.limit : g;
}

// A value after weight decay. The product is taken off, for 1 - shrink is rounded too much.
static inline float decayed(float w, const Clipping& c) { return w - c.shrink * w; }

static inline double squares_for(const Update& a, int64_t variable) {
  if (a.clip == Clip::kNorm) return a.norms[variable];
  double total = 0.0;
  for (int64_t v = 0; v < a.variables.count; ++v) total += a.norms[v];
  return total;
}

static inline Clipping clipping_for(const Update& a, const Step& step, int64_t variable) {
  const float infinity = __builtin_inff();
  if (a.clip == Clip::kNone) return {1.0f, 1.0f, infinity};
  if (a.clip == Clip::kValue) return {1.0f, 1.0f, static_cast<float>(step.clip)};
  const double norm = __builtin_sqrt(squares_for(a, variable));
  const double factor = norm > step.clip ? step.clip / norm : 1.0;
  if (factor >= 1e-30) return {static_cast<float>(factor), 1.0f, infinity};
  return {1e-30f, static_cast<float>(factor * 1e30), infinity};
}

// body(chunk, its clipping) for the caller's chunks, in steps that end with an update.
template <class Body>
static inline void for_clipped(const Update& a, const Step& step, const Team& team, Body body) {
  if (!is_update(step)) return;
  for (int64_t v = 0; v < a.variables.count; ++v) {
    const Range mine = part_of_variable(a.variables, v, team);
    if (mine.begin == mine.end) continue;
    Clipping clipping = clipping_for(a, step, v);
    if (a.decays) clipping.shrink = static_cast<float>(step.learning_rate * a.decays[v]);
    for (int64_t i = mine.begin; i < mine.end; ++i) body(a.variables.chunks[i], clipping);
  }
}

static void clip(const Update& a, const Step& step, const Team& team) {
  for_clipped(a, step, team, [](const Chunk& chunk, const Clipping& c) {
    float* g = chunk.gradient;
#pragma omp simd
    for (int64_t i = 0; i < chunk.length; ++i) g[i] = clipped(g[i], c);
  });
}

}  // namespace evengrad::EVENGRAD_TARGET
