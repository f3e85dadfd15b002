// What training looks like from within: norms at each step, activations at some.
#pragma once
#include "health_arguments.h"
#include "parallel.h"

namespace evengrad::EVENGRAD_TARGET {

static inline void halve(const Series& s) {
  for (int64_t i = 0; i < s.capacity / 2; ++i) {
    const double *even = s.rows + 2 * i * s.width, *odd = even + s.width;
    double* to = s.rows + i * s.width;
    for (int64_t k = 0; k < s.width; ++k) to[k] = even[k] + odd[k];
  }
  s.state[1] *= 2;
}

// The row that takes the next entry, zeros where it is the row's first.
static inline double* row_for_entry(const Series& s) {
  if (s.state[0] == s.capacity * s.state[1]) halve(s);
  double* row = s.rows + s.state[0] / s.state[1] * s.width;
  if (s.state[0] % s.state[1] == 0) {
    for (int64_t k = 0; k < s.width; ++k) row[k] = 0.0;
  }
  ++s.state[0];
  return row;
}

static inline double loss_of_step(const Health& a) {
  const double rows = a.totals[1] - a.before[1];
  return rows > 0.0 ? (a.totals[0] - a.before[0]) / rows : 0.0;
}

// Whether clipping changed the gradients of the step; the sums may have begun anew before it.
static inline double clipped_in_step(const Health& a) {
  const bool goes_on = a.sums[1] == 0.0 || a.sums[2] == a.known[1] + 1.0;
  const double acted = goes_on ? a.sums[1] - a.known[0] : a.sums[1];
  a.known[0] = a.sums[1];
  a.known[1] = a.sums[2];
  return acted > 0.0 ? 1.0 : 0.0;
}

static void add_step(const Health& a) {
  double* row = row_for_entry(a.steps);
  row[0] += loss_of_step(a);
  row[1] += clipped_in_step(a);
  for (int64_t v = 0; v < a.variables; ++v) {
    double* to = row + 2 + 3 * v;
    to[0] += __builtin_sqrt(a.norms[v]);
    if (!a.moved) continue;
    double values = 0.0, moves = 0.0;
    for (int64_t i = a.starts[v]; i < a.starts[v + 1]; ++i) {
      values += a.moved[i].values;
      moves += a.moved[i].moves;
    }
    to[1] += __builtin_sqrt(values);
    to[2] += __builtin_sqrt(moves);
  }
}

// Sums over the elements of a row: deviations from `center` and their squares, zeros.
struct Look {
  double deviations, squares, zeros;
};
// Not inlined: gcc forgets the pragma in one of the loops that it makes of its caller's.
__attribute__((noinline)) static Look look_at_row(const float* y, int64_t columns, float center) {
  float deviations = 0.0f, squares = 0.0f, zeros = 0.0f;
#pragma omp simd reduction(+ : deviations, squares, zeros)
  for (int64_t c = 0; c < columns; ++c) {
    const float d = y[c] - center;
    deviations += d;
    squares += d * d;
    zeros += y[c] == 0.0f ? 1.0f : 0.0f;
  }
  return {deviations, squares, zeros};
}

// How many slopes of a row are flat; the other units are alive.
static inline double count_flat(const float* slope, int64_t columns, float limit, float* alive) {
  float flat = 0.0f;
#pragma omp simd reduction(+ : flat)
  for (int64_t c = 0; c < columns; ++c) {
    const float size = slope[c] < 0.0f ? -slope[c] : slope[c];
    const float is_flat = size < limit ? 1.0f : 0.0f;
    flat += is_flat;
    alive[c] += 1.0f - is_flat;
  }
  return flat;
}

// Slopes of a row of the output, left in dx.
static inline const float* slopes_of_row(const Looked& a, int64_t r, const Step& step) {
  if (!a.slope.call) return nullptr;
  ActivationBackward of = a.of;
  of.y.data += r * of.y.pitch;
  if (of.x.data) of.x.data += r * of.x.pitch;
  a.slope.call(&of, step, {0, 1, nullptr});
  return of.dx.data;
}

static void look_at(const Looked& a, const Step& step, double* to) {
  const int64_t all = rows_of(a.y, step), rows = all < kLookedRows ? all : kLookedRows;
  Step one = step;
  one.rows = 1;
  const float center = a.y.data[0];
  Look sum{};
  double flat = 0.0;
  for (int64_t r = 0; r < rows; ++r) {
    const Look row = look_at_row(a.y.data + r * a.y.pitch, a.y.columns, center);
    sum.deviations += row.deviations;
    sum.squares += row.squares;
    sum.zeros += row.zeros;
    const float* slopes = slopes_of_row(a, r, one);
    if (slopes) flat += count_flat(slopes, a.y.columns, a.flat, a.alive);
  }
  const double n = static_cast<double>(rows * a.y.columns), offset = sum.deviations / n;
  const double variance = sum.squares / n - offset * offset;
  to[0] += center + offset;
  to[1] += __builtin_sqrt(variance > 0.0 ? variance : 0.0);
  to[2] += sum.zeros / n;
  to[3] += flat / n;
}

// Norms and loss of the step by one thread; where it is time for a look, the outputs by all.
static void watch(const Health& a, const Step& step, const Team& team) {
  if (!is_update(step)) return;
  if (team.rank == 0) add_step(a);
  if (a.output_count == 0 || (update_number(step) - 1 - *a.origin) % a.every != 0) return;
  if (team.rank == 0) row_for_entry(a.looks)[0] += static_cast<double>(a.steps.state[0]);
  team.wait();
  double* row = a.looks.rows + (a.looks.state[0] - 1) / a.looks.state[1] * a.looks.width;
  for (int64_t i = team.rank; i < a.output_count; i += team.size) {
    look_at(a.outputs[i], step, row + 1 + 4 * i);
  }
}

}  // namespace evengrad::EVENGRAD_TARGET
