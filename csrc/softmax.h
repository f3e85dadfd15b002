// Softmax and log-softmax of each row, forward and backward.
#pragma once
#include "fastmath.h"
#include "parallel.h"

namespace evengrad::EVENGRAD_TARGET {

static inline float row_max(const float* x, int64_t columns) {
  float most = -__builtin_inff();
#pragma omp simd reduction(max : most)
  for (int64_t c = 0; c < columns; ++c) most = x[c] > most ? x[c] : most;
  return most;
}

static inline float row_dot(const float* x, const float* y, int64_t columns) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < columns; ++c) sum += x[c] * y[c];
  return sum;
}

static inline float row_sum(const float* x, int64_t columns) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < columns; ++c) sum += x[c];
  return sum;
}

// y = e^(x - max), its padding 0; y may be x. Returns the sum, NaN if a number of the row is.
static inline float row_exp(const float* x, float* y, int64_t columns, float most) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < columns; ++c) {
    y[c] = exp_(x[c] - most);
    sum += y[c];
  }
  for (int64_t c = columns; c < padded(columns); ++c) y[c] = 0.0f;
  return sum;
}

static inline void row_scale(float* y, int64_t columns, float factor) {
#pragma omp simd
  for (int64_t c = 0; c < columns; ++c) y[c] *= factor;
}

static void softmax_forward(const SoftmaxForward& a, const Step& step, const Team& team) {
  const Range rows = part(rows_of(a.x, step), team);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* x = a.x.data + r * a.x.pitch;
    float* y = a.y.data + r * a.y.pitch;
    const float sum = row_exp(x, y, a.x.columns, row_max(x, a.x.columns));
    row_scale(y, a.x.columns, 1.0f / sum);
  }
}

// dx = y (dy - sum dy y)
static void softmax_backward(const SoftmaxBackward& a, const Step& step, const Team& team) {
  const Range rows = part(rows_of(a.y, step), team);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* y = a.y.data + r * a.y.pitch;
    const float* dy = a.dy.data + r * a.dy.pitch;
    float* dx = a.dx.data + r * a.dx.pitch;
    const float dot = row_dot(dy, y, a.y.columns);
#pragma omp simd
    for (int64_t c = 0; c < a.y.columns; ++c) dx[c] = y[c] * (dy[c] - dot);
    for (int64_t c = a.y.columns; c < padded(a.y.columns); ++c) dx[c] = 0.0f;
  }
}

// ln of the sum of e^(x - most). What the largest leaves is summed apart, so that a row of one that
// is far ahead keeps its digits: ln(1 + u) for a small u. NaN if a number of the row is, or +inf.
static inline float row_log_sum(const float* x, int64_t columns, float most) {
  float others = 0.0f, largest = 0.0f;
#pragma omp simd reduction(+ : others, largest)
  for (int64_t c = 0; c < columns; ++c) {
    const float d = x[c] - most;
    others += d == 0.0f ? 0.0f : exp_(d);
    largest += d == 0.0f ? 1.0f : 0.0f;
  }
  others += largest - 1.0f;
  return others <= 1.0f ? log1p_unit(others) : log_(1.0f + others);
}

// y = x - max - ln sum e^(x - max)
static void log_softmax_forward(const SoftmaxForward& a, const Step& step, const Team& team) {
  const Range rows = part(rows_of(a.x, step), team);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* x = a.x.data + r * a.x.pitch;
    float* y = a.y.data + r * a.y.pitch;
    const float most = row_max(x, a.x.columns), log_sum = row_log_sum(x, a.x.columns, most);
#pragma omp simd
    for (int64_t c = 0; c < a.x.columns; ++c) y[c] = x[c] - most - log_sum;
    for (int64_t c = a.x.columns; c < padded(a.x.columns); ++c) y[c] = 0.0f;
  }
}

// dx = dy - p sum dy with p = e^y, as dy (1 - p) - p (what is left of the sum without dy): nothing
// cancels where one p is nearly 1 and its dy the only one.
static void log_softmax_backward(const SoftmaxBackward& a, const Step& step, const Team& team) {
  const Range rows = part(rows_of(a.y, step), team);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* y = a.y.data + r * a.y.pitch;
    const float* dy = a.dy.data + r * a.dy.pitch;
    float* dx = a.dx.data + r * a.dx.pitch;
    const float sum = row_sum(dy, a.y.columns);
#pragma omp simd
    for (int64_t c = 0; c < a.y.columns; ++c) {
      dx[c] = -expm1_(y[c]) * dy[c] - exp_(y[c]) * (sum - dy[c]);
    }
    for (int64_t c = a.y.columns; c < padded(a.y.columns); ++c) dx[c] = 0.0f;
  }
}

}  // namespace evengrad::EVENGRAD_TARGET
