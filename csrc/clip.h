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

static inline float largest_of(const float* g, int64_t length) {
  float most = 0.0f;
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < length; ++i) {
    const float size = g[i] < 0.0f ? -g[i] : g[i];
    most = size > most ? size : most;
  }
  return most;
}

static inline double global_norm(const double* squares, int64_t count) {
  double total = 0.0;
  for (int64_t v = 0; v < count; ++v) total += squares[v];
  return __builtin_sqrt(total);
}

// A gradient that moves a number by more is a step into infinity.
constexpr double kLargestMove = 1e37;

// Whether a variable stays finite; norm, at least the largest element, becomes `clipped`.
static inline bool stays_finite(double norm, double clipped, const Step& step) {
  return __builtin_isfinite(norm) && step.learning_rate * clipped < kLargestMove;
}

static inline void add_to_health(double* health, double norm, bool acted) {
  if (!health) return;
  health[0] += norm;
  health[1] += acted ? 1.0 : 0.0;
  health[2] += 1.0;
}

// Whether clipping by a threshold changes the gradients of the step.
static inline bool acts(const GradientNorms& a, const Step& step) {
  const int64_t chunks = a.variables.starts[a.variables.count];
  const double most = static_cast<double>(static_cast<float>(step.clip));
  bool acted = false;
  switch (a.clip) {
    case Clip::kValue:
      for (int64_t i = 0; i < chunks; ++i) acted = acted || a.partial[chunks + i] > most;
      return acted;
    case Clip::kNorm:
      for (int64_t v = 0; v < a.variables.count; ++v) {
        acted = acted || __builtin_sqrt(a.norms[v]) > step.clip;
      }
      return acted;
    case Clip::kGlobalNorm:
      return global_norm(a.norms, a.variables.count) > step.clip;
    default:
      return false;
  }
}

// norms[variable] = sum of squares of its gradient, which cannot overflow for finite ones. The
// first variable with a NaN, an infinity or a move out of float32's range fails the step.
static void gradient_norms(const GradientNorms& a, const Step& step, const Team& team) {
  const ChunkedVariables& variables = a.variables;
  const int64_t chunks = variables.starts[variables.count];
  for (int64_t v = 0; v < variables.count; ++v) {
    const Range mine = part_of_variable(variables, v, team);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      const Chunk& chunk = variables.chunks[i];
      a.partial[i] = square_sum(chunk.gradient, chunk.length);
      if (a.clip == Clip::kValue) a.partial[chunks + i] = largest_of(chunk.gradient, chunk.length);
    }
  }
  team.wait();
  if (team.rank != 0) return;
  for (int64_t v = 0; v < variables.count; ++v) {
    a.norms[v] = 0.0;
    for (int64_t i = variables.starts[v]; i < variables.starts[v + 1]; ++i) {
      a.norms[v] += a.partial[i];
    }
    const double norm = __builtin_sqrt(a.norms[v]);
    const double clipped = a.clip == Clip::kAdaptive ? 0.0 : norm > step.clip ? step.clip : norm;
    if (!stays_finite(norm, clipped, step)) return fail(step.control, Failure::kGradient, v);
  }
  if (a.clip == Clip::kAdaptive || !is_update(step)) return;
  add_to_health(a.health, global_norm(a.norms, variables.count), acts(a, step));
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

static inline Clipping clipping_for(const Update& a, const Step& step, int64_t variable) {
  const float infinity = __builtin_inff();
  if (a.clip == Clip::kNone) return {1.0f, 1.0f, infinity};
  if (a.clip == Clip::kValue) return {1.0f, 1.0f, static_cast<float>(step.clip)};
  const int64_t count = a.variables.count;
  const double limit = a.clip == Clip::kAdaptive ? a.norms[count] : step.clip;
  const double norm =
      a.clip == Clip::kNorm ? __builtin_sqrt(a.norms[variable]) : global_norm(a.norms, count);
  const double factor = norm > limit ? limit / norm : 1.0;
  if (factor >= 1e-30) return {static_cast<float>(factor), 1.0f, infinity};
  return {1e-30f, static_cast<float>(factor * 1e30), infinity};
}

// What body(chunk, its clipping) returns of the caller's chunks, in steps that end with an update.
template <class Body>
static inline void for_clipped(const Update& a, const Step& step, const Team& team, Body body) {
  if (!is_update(step)) return;
  Clipping clipping = clipping_for(a, step, 0);
  for (int64_t v = 0; v < a.variables.count; ++v) {
    const Range mine = part_of_variable(a.variables, v, team);
    if (mine.begin == mine.end) continue;
    if (a.clip == Clip::kNorm) clipping = clipping_for(a, step, v);  // else the same for all
    if (a.decays) clipping.shrink = static_cast<float>(step.learning_rate * a.decays[v]);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      a.moved[i] = body(a.variables.chunks[i], clipping);
    }
  }
}

// Adds the squares of a value after its update, and of what that added.
static inline void add_squares(float before, float after, float& values, float& moves) {
  const float move = after - before;
  values += after * after;
  moves += move * move;
}

static void clip(const Update& a, const Step& step, const Team& team) {
  for_clipped(a, step, team, [](const Chunk& chunk, const Clipping& c) {
    float* g = chunk.gradient;
#pragma omp simd
    for (int64_t i = 0; i < chunk.length; ++i) g[i] = clipped(g[i], c);
    return Moved{};
  });
}

}  // namespace evengrad::EVENGRAD_TARGET
