// Gradients added up over steps before an update, and the moving average of the values behind it.
#pragma once
#include "clip.h"

namespace evengrad::EVENGRAD_TARGET {

// body(chunk) for the caller's chunks.
template <class Body>
static inline void for_chunks(const ChunkedVariables& variables, const Team& team, Body body) {
  for (int64_t v = 0; v < variables.count; ++v) {
    const Range mine = part_of_variable(variables, v, team);
    for (int64_t i = mine.begin; i < mine.end; ++i) body(variables.chunks[i]);
  }
}

// gradient = sum so far + gradient / steps of an update. Shares are added, not gradients, for their
// sum is finite where the gradients are. The sum so far stays, in case the step fails.
static void accumulate(const Accumulation& a, const Step& step, const Team& team) {
  const float share = static_cast<float>(1.0 / static_cast<double>(step.accumulation));
  for_chunks(a.variables, team, [=](const Chunk& chunk) {
    float* g = chunk.gradient;
    const float* sum = chunk.slot[0];
#pragma omp simd
    for (int64_t i = 0; i < chunk.length; ++i) g[i] = sum[i] + share * g[i];
  });
}

// Behind the check: sum so far = gradient, which `accumulate` made it, or 0 where an update has it.
static void carry(const Accumulation& a, const Step& step, const Team& team) {
  const bool done = is_update(step);
  for_chunks(a.variables, team, [=](const Chunk& chunk) {
    const float* g = chunk.gradient;
    float* sum = chunk.slot[0];
#pragma omp simd
    for (int64_t i = 0; i < chunk.length; ++i) sum[i] = done ? 0.0f : g[i];
  });
}

// average = momentum average + (1 - momentum) value, or the value in steps of the first update.
// It moves at each step, also at those between updates, as Keras' does.
static void average(const Average& a, const Step& step, const Team& team) {
  const int64_t number = update_number(step);
  const double momentum = number == 1 ? 0.0 : a.momentum;
  const float keep = static_cast<float>(momentum), rest = static_cast<float>(1.0 - momentum);
  const bool overwrite = a.overwrite > 0 && number % a.overwrite == 0;
  for_chunks(a.variables, team, [=](const Chunk& chunk) {
    float *w = chunk.value, *mean = chunk.slot[0];
#pragma omp simd
    for (int64_t i = 0; i < chunk.length; ++i) mean[i] = keep * mean[i] + rest * w[i];
    if (!overwrite) return;
#pragma omp simd
    for (int64_t i = 0; i < chunk.length; ++i) w[i] = mean[i];
  });
}

}  // namespace evengrad::EVENGRAD_TARGET
