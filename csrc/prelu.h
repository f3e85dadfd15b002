// PReLU: y = x for x > 0, else alpha x, with one learned alpha a column.
#pragma once
#include "activations_piecewise.h"
#include "batch_norm.h"

namespace evengrad::EVENGRAD_TARGET {

static void prelu_forward(const PReLUForward& a, const Step& step, const Team& team) {
  const Share share = share_of(a.x, step, team);
  const float* alpha = a.alpha;
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float* x = a.x.data + r * a.x.pitch;
    float* y = a.y.data + r * a.y.pitch;
#pragma omp simd
    for (int64_t c = share.columns.begin; c < share.columns.end; ++c) {
      y[c] = x[c] < 0.0f ? times(alpha[c], x[c]) : x[c];
    }
  }
}

// dalpha = sum over rows of dy min(x, 0); dx = dy (1 or alpha).
static void prelu_backward(const PReLUBackward& a, const Step& step, const Team& team) {
  const int64_t rows = rows_of(a.x, step), pitch = padded(a.x.columns);
  const Share share = share_of(rows, a.x.columns, team);
  const float *x = a.x.data, *dy = a.dy.data, *alpha = a.alpha;
  const int64_t ldx = a.x.pitch, ldy = a.dy.pitch;
  if (a.dalpha) {
    for_chunks(rows, share, [&](int64_t i, int64_t begin, int64_t end) {
      for_vectors(share.columns, [&](auto sums, int64_t column) {
        sums.over({begin, end}, [=](int64_t r, int v, Vector& s, Vector&) {
          const int64_t c = column + v * kVectorFloats;
          const Vector below = load(x + r * ldx + c);
          s += load(dy + r * ldy + c) * (below > 0.0f ? Vector{} : below);
        });
        to_doubles(sums.s, a.partial + i * pitch + column);
      });
    });
    for_column_blocks(columns_to_combine(share, a.x.columns, team), [&](Range block) {
      double sum[kColumnBlock];
      sum_chunks(a.partial, pitch, rows, block, sum);
      for (int64_t c = block.begin; c < block.end; ++c) {
        a.dalpha[c] = static_cast<float>(sum[c - block.begin]);
      }
    });
  }
  if (!a.dx.data) return;
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float *xr = x + r * ldx, *dyr = dy + r * ldy;
    float* dx = a.dx.data + r * a.dx.pitch;
#pragma omp simd
    for (int64_t c = share.columns.begin; c < share.columns.end; ++c) {
      dx[c] = dyr[c] * (xr[c] > 0.0f ? 1.0f : alpha[c]);
    }
  }
}

}  // namespace evengrad::EVENGRAD_TARGET
