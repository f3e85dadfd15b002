// What variables are brought back to after an update. Norms are sums in double, and each weight is
// rounded once: right for the largest and the smallest.
#pragma once
#include "units.h"

namespace evengrad::EVENGRAD_TARGET {

constexpr double kNormEpsilon = 1e-7;  // Keras'

static inline double constrained_factor(const Constrain& a, double squares) {
  const double norm = __builtin_sqrt(squares);
  const double above = norm < a.minimum ? a.minimum : norm;
  const double held = above > a.maximum ? a.maximum : above;
  return (a.rate * held + (1.0 - a.rate) * norm) / (kNormEpsilon + norm);
}

static inline void make_non_negative(const Matrix& m, Range rows) {
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    float* row = m.data + r * m.pitch;
#pragma omp simd
    for (int64_t c = 0; c < m.columns; ++c) row[c] = row[c] < 0.0f ? 0.0f : row[c];
  }
}

static inline void constrain_columns(const Constrain& a, const Team& team) {
  double factors[kTileColumns];
  for_tiles(a.w, team, [&](int64_t begin, int64_t width) {
    tile_squares(a.w, begin, width, factors);
    for (int64_t c = 0; c < width; ++c) factors[c] = constrained_factor(a, factors[c]);
    scale_tile(a.w, begin, width, factors);
  });
}

static void constrain(const Constrain& a, const Step&, const Team& team) {
  const Range mine = part(a.w.rows, team);
  if (a.kind == Constraint::kNonNegative) return make_non_negative(a.w, mine);
  if (a.kind == Constraint::kColumns) return constrain_columns(a, team);
  for (int64_t r = mine.begin; r < mine.end; ++r) a.partial[r] = row_squares(a.w, r);
  double whole = 0.0;
  if (a.kind == Constraint::kWhole) {
    team.wait();
    for (int64_t r = 0; r < a.w.rows; ++r) whole += a.partial[r];
  }
  for (int64_t r = mine.begin; r < mine.end; ++r) {
    const double squares = a.kind == Constraint::kWhole ? whole : a.partial[r];
    scale_row(a.w, r, constrained_factor(a, squares));
  }
}

}  // namespace evengrad::EVENGRAD_TARGET
