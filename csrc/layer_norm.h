// Layer normalization: each row by its own mean and deviation, forward and backward.
// Exact where |mean| >> std, as batch_norm.h is: deviations are taken from the float32 nearest to
// the mean. Threads share rows; sums over rows for gamma and beta go through fixed chunks.
#pragma once
#include "column_sums.h"

namespace evengrad::EVENGRAD_TARGET {

// v with 0 from lane n on: what is behind the columns of a row does not count.
static inline Vector first_lanes(Vector v, int64_t n) {
  typedef int32_t Lanes __attribute__((vector_size(kVectorFloats * sizeof(int32_t))));
  Lanes lane{};
  for (int i = 0; i < kVectorFloats; ++i) lane[i] = i;
  return lane < static_cast<int32_t>(n) ? v : Vector{};
}

static inline float sum_of_lanes(Vector v) {
  float lanes[kVectorFloats], sum = 0.0f;
  __builtin_memcpy(lanes, &v, sizeof v);
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < kVectorFloats; ++i) sum += lanes[i];
  return sum;
}

// Two sums over the columns of a row of what terms(column) returns, a vector each.
struct Terms {
  Vector s, t;
};
struct RowSums {
  float s, t;
};
template <class Body>
static inline RowSums sum_row(int64_t columns, Body terms) {
  Terms sum[4] = {};
  int64_t c = 0;
  for (; c + 4 * kVectorFloats <= columns; c += 4 * kVectorFloats) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      const Terms more = terms(c + v * kVectorFloats);
      sum[v].s += more.s;
      sum[v].t += more.t;
    }
  }
  for (; c < columns; c += kVectorFloats) {
    const Terms more = terms(c);
    sum[0].s += first_lanes(more.s, columns - c);
    sum[0].t += first_lanes(more.t, columns - c);
  }
  return {sum_of_lanes((sum[0].s + sum[1].s) + (sum[2].s + sum[3].s)),
          sum_of_lanes((sum[0].t + sum[1].t) + (sum[2].t + sum[3].t))};
}

// y = values(column), a vector each, and 0 behind the columns.
template <class Body>
static inline void fill_row(float* y, int64_t columns, Body values) {
  int64_t c = 0;
  for (; c + kVectorFloats <= columns; c += kVectorFloats) store(y + c, values(c));
  for (; c < padded(columns); c += kVectorFloats) {
    store(y + c, c < columns ? first_lanes(values(c), columns - c) : Vector{});
  }
}

struct RowStatistics {
  float center, offset, inverse;  // the mean is center + offset
  Vector normalized(const float* x) const { return ((load(x) - center) - offset) * inverse; }
};
static inline RowStatistics row_statistics(const double* mean, const double* inverse, int64_t r) {
  const auto center = static_cast<float>(mean[r]);
  return {center, static_cast<float>(mean[r] - center), static_cast<float>(inverse[r])};
}

struct RowMoments {
  double mean, variance;
};
static inline RowMoments row_moments(const float* x, int64_t columns, double weight) {
  const auto w = static_cast<float>(weight);
  const float center =
      sum_row(columns, [=](int64_t c) { return Terms{load(x + c) * w, Vector{}}; }).s;
  const RowSums around = sum_row(columns, [=](int64_t c) {
    const Vector d = load(x + c) - center;
    return Terms{d, d * d};
  });
  const double offset = around.s * weight, variance = around.t * weight - offset * offset;
  return {center + offset, variance < 0.0 ? 0.0 : variance};
}
// The same in double, for squares beyond the range of float.
static RowMoments row_moments_in_double(const float* x, int64_t columns) {
  const double n = static_cast<double>(columns);
  double sum = 0.0, squares = 0.0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < columns; ++c) sum += x[c];
  const double mean = sum / n;
#pragma omp simd reduction(+ : squares)
  for (int64_t c = 0; c < columns; ++c) squares += (x[c] - mean) * (x[c] - mean);
  return {mean, squares / n};
}

static void layer_norm_forward(const LayerNormForward& a, const Step& step, const Team& team) {
  const Range rows = part(rows_of(a.x, step), team);
  const float *gamma = a.gamma, *beta = a.beta;
  const double weight = 1.0 / static_cast<double>(a.x.columns);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* x = a.x.data + r * a.x.pitch;
    RowMoments m = row_moments(x, a.x.columns, weight);
    const double spread = m.variance + a.epsilon;
    if (!(spread > 1e-25 && spread < 1e35)) m = row_moments_in_double(x, a.x.columns);
    a.mean[r] = m.mean;
    a.inverse[r] = 1.0 / __builtin_sqrt(m.variance + a.epsilon);
    const RowStatistics s = row_statistics(a.mean, a.inverse, r);
    fill_row(a.y.data + r * a.y.pitch, a.x.columns,
             [=](int64_t c) { return s.normalized(x + c) * load(gamma + c) + load(beta + c); });
  }
}

// With g = dy gamma and means over the row: dx = inverse (g - mean g - xhat mean(g xhat)).
static void layer_norm_rows_backward(const LayerNormBackward& a, Range rows) {
  const int64_t columns = a.x.columns;
  const auto weight = static_cast<float>(1.0 / static_cast<double>(columns));
  const float* gamma = a.gamma;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float *x = a.x.data + r * a.x.pitch, *dy = a.dy.data + r * a.dy.pitch;
    const RowStatistics s = row_statistics(a.mean, a.inverse, r);
    const RowSums sums = sum_row(columns, [=](int64_t c) {
      const Vector g = load(dy + c) * load(gamma + c);
      return Terms{g, g * s.normalized(x + c)};
    });
    const float base = sums.s * weight, slope = sums.t * weight;
    fill_row(a.dx.data + r * a.dx.pitch, columns, [=](int64_t c) {
      const Vector g = load(dy + c) * load(gamma + c);
      return (g - base - s.normalized(x + c) * slope) * s.inverse;
    });
  }
}

// Sums over a chunk of rows: of dy, and of dy xhat behind them.
static void layer_norm_chunk(const LayerNormBackward& a, Range rows, Range columns, double* first,
                             double* second) {
  const Tensor x = a.x, dy = a.dy;
  const double *mean = a.mean, *inverse = a.inverse;
  for_vectors(columns, [=](auto sums, int64_t column) {
    sums.over(rows, [=](int64_t r, int v, Vector& s, Vector& t) {
      const int64_t c = column + v * kVectorFloats;
      const Vector d = load(dy.data + r * dy.pitch + c);
      s += d;
      t += d * row_statistics(mean, inverse, r).normalized(x.data + r * x.pitch + c);
    });
    to_doubles(sums.s, first + column);
    to_doubles(sums.t, second + column);
  });
}

// dgamma = sum over rows of dy xhat, dbeta = sum of dy; dx row by row. A thread that owns rows
// takes both while they are in cache; dx may be dy, so where threads own columns dx waits for all.
static void layer_norm_backward(const LayerNormBackward& a, const Step& step, const Team& team) {
  const int64_t rows = rows_of(a.x, step), pitch = padded(a.x.columns);
  if (!a.dgamma && !a.dbeta) return layer_norm_rows_backward(a, part(rows, team));
  const Share share = share_of(rows, a.x.columns, team);
  const bool own_rows = share.by_rows || team.size == 1;
  double *first = a.partial, *second = first + chunks_of(rows).count * pitch;
  for_chunks(rows, share, [&](int64_t i, int64_t begin, int64_t end) {
    layer_norm_chunk(a, {begin, end}, share.columns, first + i * pitch, second + i * pitch);
    if (own_rows && a.dx.data) layer_norm_rows_backward(a, {begin, end});
  });
  for_column_blocks(columns_to_combine(share, a.x.columns, team), [&](Range block) {
    double sum[kColumnBlock], product[kColumnBlock];
    sum_chunks(first, pitch, rows, block, sum);
    sum_chunks(second, pitch, rows, block, product);
    for (int64_t c = block.begin; c < block.end; ++c) {
      const bool counts = c < a.x.columns;  // x is anything where dy is padding
      if (a.dbeta) a.dbeta[c] = static_cast<float>(sum[c - block.begin]);
      if (a.dgamma) a.dgamma[c] = counts ? static_cast<float>(product[c - block.begin]) : 0.0f;
    }
  });
  if (own_rows || !a.dx.data) return;
  team.wait();
  layer_norm_rows_backward(a, part(rows, team));
}

}  // namespace evengrad::EVENGRAD_TARGET
