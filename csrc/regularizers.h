// Penalties on the size of variables, with their gradients.
#pragma once
#include "clip.h"

namespace evengrad::EVENGRAD_TARGET {

// l1 sum |w| + l2 sum w^2 over a chunk, in double.
static inline double penalty_of(const Chunk& chunk, double l1, double l2) {
  const float* w = chunk.value;
  double sizes = 0.0, squares = 0.0;
#pragma omp simd reduction(+ : sizes, squares)
  for (int64_t i = 0; i < chunk.length; ++i) {
    const double x = w[i];
    sizes += x < 0.0 ? -x : x;
    squares += x * x;
  }
  return l1 * sizes + l2 * squares;
}

static inline void add_slopes(const Chunk& chunk, double l1, double l2) {
  const float* w = chunk.value;
  float* g = chunk.gradient;
  const float side = static_cast<float>(l1), twice = static_cast<float>(2.0 * l2);
#pragma omp simd
  for (int64_t i = 0; i < chunk.length; ++i) {
    const float sign = w[i] > 0.0f ? side : w[i] < 0.0f ? -side : 0.0f;
    g[i] += sign + twice * w[i];
  }
}

static void regularize(const Regularize& a, const Step& step, const Team& team) {
  const ChunkedVariables& variables = a.variables;
  for (int64_t v = 0; v < variables.count; ++v) {
    const Range mine = part_of_variable(variables, v, team);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      a.partial[i] = penalty_of(variables.chunks[i], a.l1[v], a.l2[v]);
      if (a.gradients) add_slopes(variables.chunks[i], a.l1[v], a.l2[v]);
    }
  }
  team.wait();
  if (team.rank != 0) return;
  double total = 0.0;
  for (int64_t i = 0; i < variables.starts[variables.count]; ++i) total += a.partial[i];
  *a.result += total * static_cast<double>(step.rows * a.per_sample);
}

}  // namespace evengrad::EVENGRAD_TARGET
