// Batch normalization over the rows of a batch, column by column: forward and moving statistics,
// inference, backward.
// Exact where |mean| >> std: deviations are taken from `center`, the float32 nearest to the mean,
// from which nearby float32 values differ exactly; the mean is center + offset. Sums over rows go
// through fixed chunks, combined in double in their order.
#pragma once
#include "column_sums.h"
#include "fastmath.h"

namespace evengrad::EVENGRAD_TARGET {

// Mean and sum of squared deviations of the columns of a chunk, around its own mean, rounded. Its
// rows are in cache when they are read for the second time.
static void chunk_moments(const Tensor& x, Range rows, Range columns, double* mean,
                          double* squares) {
  const double n = static_cast<double>(rows.end - rows.begin);
  const float weight = static_cast<float>(1.0 / n);
  for_vectors(columns, [=](auto sums, int64_t column) {
    constexpr int V = sizeof(sums.s) / sizeof(Vector);
    const float* data = x.data + column;
    const int64_t pitch = x.pitch;
    sums.over(rows, [=](int64_t r, int v, Vector& s, Vector&) {
      s += load(data + r * pitch + v * kVectorFloats) * weight;
    });
    float center[V * kVectorFloats], first[V * kVectorFloats], second[V * kVectorFloats];
    __builtin_memcpy(center, sums.s, sizeof center);
    const auto around = sums;
    sums.over(rows, [=](int64_t r, int v, Vector& s, Vector& t) {
      const Vector d = load(data + r * pitch + v * kVectorFloats) - around.s[v];
      s += d;
      t += d * d;
    });
    __builtin_memcpy(first, sums.s, sizeof first);
    __builtin_memcpy(second, sums.t, sizeof second);
#pragma omp simd
    for (int i = 0; i < V * kVectorFloats; ++i) {
      const double offset = first[i] / n;
      mean[column + i] = center[i] + offset;
      squares[column + i] = second[i] - n * offset * offset;
    }
  });
}

// Beyond float32's range a moving variance could not be kept: the step must fail, and not with
// finite outputs of x times 0.
constexpr double kLargestVariance = 3e38;

// What the rest of the step wants to know of a column with this mean and variance.
static inline void keep_statistics(const BatchNormForward& a, int64_t c, double mean,
                                   double variance) {
  const BatchStatistics& s = a.statistics;
  variance = variance < 0.0 ? 0.0 : variance;
  if (!(variance <= kLargestVariance)) variance = mean = __builtin_nan("");
  s.center[c] = static_cast<float>(mean);
  s.offset[c] = static_cast<float>(mean - s.center[c]);
  s.inverse[c] = static_cast<float>(1.0 / __builtin_sqrt(variance + a.epsilon));
  s.scale[c] = a.gamma ? a.gamma[c] : 1.0f;
  s.shift[c] = a.beta ? a.beta[c] : 0.0f;
  if (c >= a.x.columns) return;
  s.mean[c] = mean;
  s.variance[c] = variance;
}

// The moments of all rows from those of the chunks, as Chan, Golub and LeVeque, 1979, combine
// them. Ends with a barrier if by rows.
static void batch_statistics(const BatchNormForward& a, int64_t rows, const Share& share,
                             const Team& team) {
  const int64_t pitch = padded(a.x.columns);
  const double n = static_cast<double>(rows);
  double* means = a.statistics.partial;
  double* squares = means + chunks_of(rows).count * pitch;
  for_chunks(rows, share, [&](int64_t i, int64_t begin, int64_t end) {
    chunk_moments(a.x, {begin, end}, share.columns, means + i * pitch, squares + i * pitch);
  });
  for_column_blocks(columns_to_combine(share, a.x.columns, team), [&](Range block) {
    double mean[kColumnBlock] = {}, square[kColumnBlock] = {};
    for_all_chunks(rows, [&](int64_t i, double size) {
#pragma omp simd
      for (int64_t c = block.begin; c < block.end; ++c) {
        mean[c - block.begin] += size / n * means[i * pitch + c];
      }
    });
    for_all_chunks(rows, [&](int64_t i, double size) {
#pragma omp simd
      for (int64_t c = block.begin; c < block.end; ++c) {
        const double d = means[i * pitch + c] - mean[c - block.begin];
        square[c - block.begin] += squares[i * pitch + c] + size * d * d;
      }
    });
    for (int64_t c = block.begin; c < block.end; ++c) {
      keep_statistics(a, c, mean[c - block.begin], square[c - block.begin] / n);
    }
  });
  if (share.by_rows) team.wait();
}

static void batch_norm_forward(const BatchNormForward& a, const Step& step, const Team& team) {
  const int64_t rows = rows_of(a.x, step);
  const Share share = share_of(rows, a.x.columns, team);
  batch_statistics(a, rows, share, team);
  const BatchStatistics s = a.statistics;  // a copy: stores to y cannot change it
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float* x = a.x.data + r * a.x.pitch;
    float* y = a.y.data + r * a.y.pitch;
    float* xhat = a.xhat.data ? a.xhat.data + r * a.xhat.pitch : y;
#pragma omp simd
    for (int64_t c = share.columns.begin; c < share.columns.end; ++c) {
      const float value = ((x[c] - s.center[c]) - s.offset[c]) * s.inverse[c];
      xhat[c] = value;
      y[c] = value * s.scale[c] + s.shift[c];
    }
  }
}

// With sums over the batch: dbeta = sum dy, dgamma = sum dy xhat and
// dx = gamma inverse (dy - dbeta / n - xhat dgamma / n), as (dy - base - (x - center) slope) scale.
// The padding of dx stays 0: dy and its sums are 0 there.
static void batch_norm_backward(const BatchNormBackward& a, const Step& step, const Team& team) {
  const int64_t rows = rows_of(a.x, step), pitch = padded(a.x.columns);
  const double n = static_cast<double>(rows);
  const Share share = share_of(rows, a.x.columns, team);
  const BatchStatistics statistics = a.statistics;
  const Tensor x = a.x, dy = a.dy;
  double *first = statistics.partial, *second = first + chunks_of(rows).count * pitch;
  for_chunks(rows, share, [&](int64_t i, int64_t begin, int64_t end) {
    for_vectors(share.columns, [&](auto sums, int64_t column) {
      sums.over({begin, end}, [=](int64_t r, int v, Vector& s, Vector& t) {
        const int64_t c = column + v * kVectorFloats;
        const Vector d = load(dy.data + r * dy.pitch + c);
        s += d;
        t += d * (load(x.data + r * x.pitch + c) - load(statistics.center + c));
      });
      to_doubles(sums.s, first + i * pitch + column);
      to_doubles(sums.t, second + i * pitch + column);
    });
  });
  float *base = a.sums, *slope = base + pitch, *scale = slope + pitch;
  for_column_blocks(columns_to_combine(share, a.x.columns, team), [&](Range block) {
    double sum[kColumnBlock], product[kColumnBlock];
    sum_chunks(first, pitch, rows, block, sum);
    sum_chunks(second, pitch, rows, block, product);
    for (int64_t c = block.begin; c < block.end; ++c) {
      const double dbeta = sum[c - block.begin], inverse = statistics.inverse[c];
      const double offset = statistics.offset[c];
      const double dgamma = (product[c - block.begin] - offset * dbeta) * inverse;
      if (a.dbeta) a.dbeta[c] = static_cast<float>(dbeta);
      if (a.dgamma) a.dgamma[c] = static_cast<float>(dgamma);
      slope[c] = static_cast<float>(dgamma * inverse / n);
      base[c] = static_cast<float>(dbeta / n - offset * inverse * dgamma / n);
      scale[c] = static_cast<float>(a.gamma ? a.gamma[c] * inverse : inverse);
    }
  });
  if (!a.dx.data) return;
  if (share.by_rows) team.wait();
  const float* center = statistics.center;
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float *xr = x.data + r * x.pitch, *dyr = dy.data + r * dy.pitch;
    float* dx = a.dx.data + r * a.dx.pitch;
#pragma omp simd
    for (int64_t c = share.columns.begin; c < share.columns.end; ++c) {
      dx[c] = (dyr[c] - base[c] - (xr[c] - center[c]) * slope[c]) * scale[c];
    }
  }
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
