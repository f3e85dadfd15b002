// Batch normalization over the rows of a batch, column by column: forward and moving statistics,
// inference, backward.
// Exact where |mean| >> std: sums are taken around `center`, the float32 nearest to a first mean,
// from which nearby float32 values differ exactly; the mean is center + offset. Sums over rows go
// through fixed chunks, combined in double in their order.
#pragma once
#include "fastmath.h"
#include "parallel.h"

namespace evengrad::EVENGRAD_TARGET {

// For each chunk of rows of the caller's share, body(partial row, first row, last row).
template <class Body>
static inline void for_chunks(int64_t rows, const Share& share, Body body) {
  const Chunks chunks = chunks_of(rows);
  for (int64_t i = share.rows.begin / chunks.size; i * chunks.size < share.rows.end; ++i) {
    const int64_t end = (i + 1) * chunks.size;
    body(i, i * chunks.size, end < rows ? end : rows);
  }
}

// Columns whose totals the caller combines: its own, or a part of all after a barrier.
static inline Range columns_to_combine(const Share& share, int64_t columns, const Team& team) {
  if (!share.by_rows) return share.columns;
  team.wait();
  const Range c = part(padded(columns) / kPitchFloats, team);
  return {c.begin * kPitchFloats, c.end * kPitchFloats};
}

static inline double chunk_total(const double* partial, int64_t chunks, int64_t pitch, int64_t c) {
  double total = 0.0;
  for (int64_t i = 0; i < chunks; ++i) total += partial[i * pitch + c];
  return total;
}

// Columns go through registers in blocks of this many; a chunk of such a block stays in L1.
constexpr int64_t kColumnBlock = 64;

// Two sums over a chunk of rows for each column c: term(r, c, s, t) adds to s and t.
template <class Term>
static inline void chunk_sums(Range rows, Range columns, double* first, double* second, Term term) {
  alignas(kAlignment) float s[kColumnBlock], t[kColumnBlock];
  for (int64_t begin = columns.begin; begin < columns.end; begin += kColumnBlock) {
    const int64_t width = columns.end - begin < kColumnBlock ? columns.end - begin : kColumnBlock;
    for (int64_t c = 0; c < width; ++c) s[c] = t[c] = 0.0f;
    for (int64_t r = rows.begin; r < rows.end; ++r) {
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) term(r, begin + c, s[c], t[c]);
    }
    for (int64_t c = 0; c < width; ++c) first[begin + c] = s[c];
    if (second) {
      for (int64_t c = 0; c < width; ++c) second[begin + c] = t[c];
    }
  }
}

// center, offset, inverse, mean and variance of x's columns; ends with a barrier if by rows.
static void batch_statistics(const BatchNormForward& a, int64_t rows, const Share& share,
                             const Team& team) {
  const BatchStatistics& s = a.statistics;
  const int64_t pitch = padded(a.x.columns), chunks = chunks_of(rows).count;
  const double n = static_cast<double>(rows);
  double *first = s.partial, *second = s.partial + chunks * pitch;
  const float* x = a.x.data;
  const int64_t ldx = a.x.pitch;
  for_chunks(rows, share, [&](int64_t i, int64_t begin, int64_t end) {
    chunk_sums({begin, end}, share.columns, first + i * pitch, nullptr,
               [=](int64_t r, int64_t c, float& sum, float&) { sum += x[r * ldx + c]; });
  });
  Range mine = columns_to_combine(share, a.x.columns, team);
  for (int64_t c = mine.begin; c < mine.end; ++c) {
    s.center[c] = static_cast<float>(chunk_total(first, chunks, pitch, c) / n);
  }
  if (share.by_rows) team.wait();
  const float* center = s.center;
  for_chunks(rows, share, [&](int64_t i, int64_t begin, int64_t end) {
    chunk_sums({begin, end}, share.columns, first + i * pitch, second + i * pitch,
               [=](int64_t r, int64_t c, float& sum, float& square) {
                 const float d = x[r * ldx + c] - center[c];
                 sum += d;
                 square += d * d;
               });
  });
  mine = columns_to_combine(share, a.x.columns, team);
  for (int64_t c = mine.begin; c < mine.end; ++c) {
    const double offset = chunk_total(first, chunks, pitch, c) / n;
    double variance = chunk_total(second, chunks, pitch, c) / n - offset * offset;
    if (variance < 0.0) variance = 0.0;
    s.offset[c] = static_cast<float>(offset);
    s.inverse[c] = static_cast<float>(1.0 / __builtin_sqrt(variance + a.epsilon));
    if (c < a.x.columns) {
      s.mean[c] = center[c] + offset;
      s.variance[c] = variance;
    }
  }
  if (share.by_rows) team.wait();
}

static void batch_norm_forward(const BatchNormForward& a, const Step& step, const Team& team) {
  const int64_t rows = rows_of(a.x, step);
  const Share share = share_of(rows, a.x.columns, team);
  batch_statistics(a, rows, share, team);
  const BatchStatistics& s = a.statistics;
  const float *gamma = a.gamma, *beta = a.beta;
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float* x = a.x.data + r * a.x.pitch;
    float* y = a.y.data + r * a.y.pitch;
    float* xhat = a.xhat.data ? a.xhat.data + r * a.xhat.pitch : y;
#pragma omp simd
    for (int64_t c = share.columns.begin; c < share.columns.end; ++c) {
      const float value = ((x[c] - s.center[c]) - s.offset[c]) * s.inverse[c];
      xhat[c] = value;
      y[c] = value * (gamma ? gamma[c] : 1.0f) + (beta ? beta[c] : 0.0f);
    }
  }
}

// With sums over the batch: dbeta = sum dy, dgamma = sum dy xhat and
// dx = gamma inverse (dy - dbeta / n - xhat dgamma / n).
static void batch_norm_backward(const BatchNormBackward& a, const Step& step, const Team& team) {
  const int64_t rows = rows_of(a.x, step), pitch = padded(a.x.columns);
  const int64_t chunks = chunks_of(rows).count;
  const double n = static_cast<double>(rows);
  const Share share = share_of(rows, a.x.columns, team);
  const float *center = a.statistics.center, *offset = a.statistics.offset;
  const float *inverse = a.statistics.inverse, *gamma = a.gamma;
  double *first = a.statistics.partial, *second = first + chunks * pitch;
  const float *x = a.x.data, *dy = a.dy.data;
  const int64_t ldx = a.x.pitch, ldy = a.dy.pitch;
  for_chunks(rows, share, [&](int64_t i, int64_t begin, int64_t end) {
    chunk_sums({begin, end}, share.columns, first + i * pitch, second + i * pitch,
               [=](int64_t r, int64_t c, float& sum, float& product) {
                 const float xhat = ((x[r * ldx + c] - center[c]) - offset[c]) * inverse[c];
                 sum += dy[r * ldy + c];
                 product += dy[r * ldy + c] * xhat;
               });
  });
  float *mean_dy = a.sums, *mean_product = a.sums + pitch;
  const Range mine = columns_to_combine(share, a.x.columns, team);
  for (int64_t c = mine.begin; c < mine.end; ++c) {
    const double sum = chunk_total(first, chunks, pitch, c);
    const double product = chunk_total(second, chunks, pitch, c);
    if (a.dbeta) a.dbeta[c] = static_cast<float>(sum);
    if (a.dgamma) a.dgamma[c] = static_cast<float>(product);
    mean_dy[c] = static_cast<float>(sum / n);
    mean_product[c] = static_cast<float>(product / n);
  }
  if (!a.dx.data) return;
  if (share.by_rows) team.wait();
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float *xr = x + r * ldx, *dyr = dy + r * ldy;
    float* dx = a.dx.data + r * a.dx.pitch;
#pragma omp simd
    for (int64_t c = share.columns.begin; c < share.columns.end; ++c) {
      const float xhat = ((xr[c] - center[c]) - offset[c]) * inverse[c];
      const float scale = gamma ? gamma[c] * inverse[c] : inverse[c];
      dx[c] = (dyr[c] - mean_dy[c] - xhat * mean_product[c]) * scale;
    }
  }
  // Without gamma the padding's scale is not 0, but dy and its means are: dx stays 0 there.
}

// The last kernel of a step that passed its finite check; a few hundred numbers, one thread.
static void batch_norm_moving(const BatchNormMoving& a, const Step&, const Team& team) {
  if (team.rank != 0) return;
  const double t = static_cast<double>(++*a.count);
  const double m = a.momentum;
  double weight = 1.0 - m;
  if (a.debias && t < 1e6) weight = m < 1.0 ? weight / (1.0 - __builtin_pow(m, t)) : 1.0 / t;
  for (int64_t c = 0; c < a.columns; ++c) {
    a.moving_mean[c] += weight * (a.mean[c] - a.moving_mean[c]);
    a.moving_variance[c] += weight * (a.variance[c] - a.moving_variance[c]);
  }
}

// y = (x - mean) s + beta with s computed from the live variables at each call; the mean as the
// sum of two floats, so that the difference is exact near it.
static void batch_norm_inference(const BatchNormInference& a, const Step& step, const Team& team) {
  const int64_t rows = rows_of(a.x, step), pitch = padded(a.x.columns);
  const Share share = share_of(rows, a.x.columns, team);
  float *high = a.workspace, *low = high + pitch, *scale = low + pitch, *shift = scale + pitch;
  const Range mine = share.by_rows ? part(a.x.columns, team) : share.columns;
  const int64_t last = mine.end < a.x.columns ? mine.end : a.x.columns;
  for (int64_t c = mine.begin; c < last; ++c) {
    high[c] = static_cast<float>(a.moving_mean[c]);
    low[c] = static_cast<float>(a.moving_mean[c] - high[c]);
    const double inverse = 1.0 / __builtin_sqrt(a.moving_variance[c] + a.epsilon);
    scale[c] = static_cast<float>(a.gamma ? a.gamma[c] * inverse : inverse);
    shift[c] = a.beta ? a.beta[c] : 0.0f;
  }
  if (share.by_rows) team.wait();
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float* x = a.x.data + r * a.x.pitch;
    float* y = a.y.data + r * a.y.pitch;
#pragma omp simd
    for (int64_t c = share.columns.begin; c < share.columns.end; ++c) {
      y[c] = ((x[c] - high[c]) - low[c]) * scale[c] + shift[c];
    }
  }
}

// Backward of inference: for a layer that is not trainable inside a model that is.
static void batch_norm_frozen_backward(const BatchNormFrozenBackward& a, const Step& step,
                                       const Team& team) {
  const int64_t rows = rows_of(a.dy, step), columns = a.dy.columns;
  const Share share = share_of(rows, columns, team);
  const Range mine = share.by_rows ? part(columns, team) : share.columns;
  const int64_t last = mine.end < columns ? mine.end : columns;
  for (int64_t c = mine.begin; c < last; ++c) {
    const double inverse = 1.0 / __builtin_sqrt(a.moving_variance[c] + a.epsilon);
    a.workspace[c] = static_cast<float>(a.gamma ? a.gamma[c] * inverse : inverse);
  }
  if (share.by_rows) team.wait();
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float* dy = a.dy.data + r * a.dy.pitch;
    float* dx = a.dx.data + r * a.dx.pitch;
#pragma omp simd
    for (int64_t c = share.columns.begin; c < share.columns.end; ++c) {
      dx[c] = dy[c] * a.workspace[c];
    }
  }
}

}  // namespace evengrad::EVENGRAD_TARGET
