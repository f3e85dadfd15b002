// Adaptive gradient clipping: Brock, De, Smith, Simonyan, 2021 (arXiv:2102.06171). A unit of a
// dense kernel is a column, all weights into one output. Its gradient is held against its weights.
// Accumulated gradients are clipped once they make an update.
#pragma once
#include "clip.h"
#include "units.h"

namespace evengrad::EVENGRAD_TARGET {

// From sums of squares. A NaN gives 1, and fails the step after.
static inline double unit_factor(const UnitVariable& v, double epsilon, double w, double g) {
  const double norm = __builtin_sqrt(g), own = __builtin_sqrt(w);
  const double limit = v.lambda * (own > epsilon ? own : epsilon);
  return norm > limit ? limit / norm : 1.0;
}

static inline void unit_factors(const UnitVariable& v, double epsilon, const Team& team) {
  double own[kTileColumns];
  for_tiles(v.w, team, [&](int64_t begin, int64_t width) {
    double *squares = v.squares + begin, *factors = v.factors + begin;
    tile_squares(v.g, begin, width, squares);
    tile_squares(v.w, begin, width, own);
    for (int64_t c = 0; c < width; ++c) {
      factors[c] = unit_factor(v, epsilon, own[c], squares[c]);
    }
  });
}

static inline int64_t units_of(const UnitVariable& v) { return v.whole ? 1 : v.w.columns; }

// Norms of the variables; fails the step as gradient_norms does.
static inline void settle_units(const UnitClip& a, const Step& step) {
  bool acted = false;
  for (int64_t i = 0; i < a.count; ++i) {
    const UnitVariable& v = a.variables[i];
    double clipped = 0.0;
    a.norms[i] = 0.0;
    for (int64_t u = 0; u < units_of(v); ++u) {
      a.norms[i] += v.squares[u];
      clipped += v.squares[u] * v.factors[u] * v.factors[u];
      acted = acted || v.factors[u] < 1.0;
    }
    if (!stays_finite(__builtin_sqrt(a.norms[i]), __builtin_sqrt(clipped), step)) {
      return fail(step.control, Failure::kGradient, i);
    }
  }
  if (is_update(step)) add_to_health(a.health, global_norm(a.norms, a.count), acted);
}

static void unit_clip(const UnitClip& a, const Step& step, const Team& team) {
  for (int64_t i = 0; i < a.count; ++i) {
    const UnitVariable& v = a.variables[i];
    if (!v.whole) unit_factors(v, a.epsilon, team);
    if (v.whole && i % team.size == team.rank) {
      v.squares[0] = row_squares(v.g, 0);
      v.factors[0] = unit_factor(v, a.epsilon, row_squares(v.w, 0), v.squares[0]);
    }
  }
  team.wait();
  if (team.rank == 0) settle_units(a, step);
  team.wait();
  if (step.control->failure != Failure::kNone || !is_update(step)) return;
  for (int64_t i = 0; i < a.count; ++i) {
    const UnitVariable& v = a.variables[i];
    if (v.whole && i % team.size == team.rank && v.factors[0] < 1.0) {
      scale_row(v.g, 0, v.factors[0]);
    }
    if (v.whole) continue;
    for_tiles(v.g, team, [&](int64_t begin, int64_t width) {
      bool any = false;
      for (int64_t c = begin; c < begin + width; ++c) any = any || v.factors[c] < 1.0;
      if (any) scale_tile(v.g, begin, width, v.factors + begin);
    });
  }
}

}  // namespace evengrad::EVENGRAD_TARGET
