// What shifts and scales each column alike in all rows, and what adds two batches.
#pragma once
#include "parallel.h"

namespace evengrad::EVENGRAD_TARGET {

constexpr double kLeastDeviation = 1e-7;  // Keras' epsilon

// y = (x - center) / deviation or its inverse, or x spread + center, from the live values at each
// call; of a gradient the factor alone. Subtracts center as the sum of two floats, so that the
// difference is exact near it. The padding of a gradient stays 0.
static void affine(const Affine& a, const Step& step, const Team& team) {
  const int64_t rows = rows_of(a.x, step), pitch = padded(a.x.columns);
  const Share share = share_of(rows, a.x.columns, team);
  float *high = a.workspace, *low = high + pitch, *factor = low + pitch, *added = factor + pitch;
  const Range mine = share.by_rows ? part(a.x.columns, team) : share.columns;
  const int64_t last = mine.end < a.x.columns ? mine.end : a.x.columns;
  const bool before = a.kind == AffineKind::kNormalize && !a.gradient;
  const bool after = a.kind != AffineKind::kNormalize && !a.gradient;
  for (int64_t c = mine.begin; c < last; ++c) {
    double by = a.spread[c];
    if (a.kind != AffineKind::kScale) {
      by = __builtin_sqrt(by);
      by = by < kLeastDeviation ? kLeastDeviation : by;
    }
    factor[c] = static_cast<float>(a.kind == AffineKind::kNormalize ? 1.0 / by : by);
    high[c] = before ? static_cast<float>(a.center[c]) : 0.0f;
    low[c] = before ? static_cast<float>(a.center[c] - high[c]) : 0.0f;
    added[c] = after ? static_cast<float>(a.center[c]) : 0.0f;
  }
  if (share.by_rows) team.wait();
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float* x = a.x.data + r * a.x.pitch;
    float* y = a.y.data + r * a.y.pitch;
#pragma omp simd
    for (int64_t c = share.columns.begin; c < share.columns.end; ++c) {
      y[c] = ((x[c] - high[c]) - low[c]) * factor[c] + added[c];
    }
  }
}

static void add(const Add& args, const Step& step, const Team& team) {
  const Share share = share_of(args.y, step, team);
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float *a = args.a.data + r * args.a.pitch, *b = args.b.data + r * args.b.pitch;
    float* y = args.y.data + r * args.y.pitch;
#pragma omp simd
    for (int64_t c = share.columns.begin; c < share.columns.end; ++c) y[c] = a[c] + b[c];
  }
}

}  // namespace evengrad::EVENGRAD_TARGET
