// Softmax and log-softmax of each row, forward and backward.
#pragma once
#include "blocks.h"
#include "fastmath.h"

namespace evengrad::EVENGRAD_TARGET {

static inline float row_max(const float* x, int64_t columns) {
  alignas(kAlignment) float most[kBlock];
#pragma omp simd
  for (int32_t c = 0; c < kBlock; ++c) most[c] = -__builtin_inff();
  for_blocks(columns, [&](int64_t b, int32_t left) {
#pragma omp simd
    for (int32_t c = 0; c < kBlock; ++c) {
      const float here = x[b + c], counted = c < left ? here : -__builtin_inff();
      most[c] = counted > most[c] ? counted : most[c];
    }
  });
  return max_of_block(most);
}

static inline float row_sum(const float* x, int64_t columns) {
  alignas(kAlignment) float part[kBlock];
  Lanes sum;
  for_blocks(columns, [&](int64_t b, int32_t left) {
#pragma omp simd
    for (int32_t c = 0; c < kBlock; ++c) {
      const float here = x[b + c];
      part[c] = c < left ? here : 0.0f;
    }
    sum.add(part, 1.0f);
  });
  return sum.sum();
}

// Sums over columns, held apart so that what is left of 1 keeps its digits where one is far above
// the others: those of e^(x - max) below 1, and the number of ones.
struct Exponentials {
  Lanes others, ones;
};

// y = e^(x - max) on a block, its padding 0; y may be x.
static inline void exp_block(const float* x, float* y, int32_t left, float most,
                             Exponentials* sums) {
  alignas(kAlignment) float other[kBlock], one[kBlock];
#pragma omp simd
  for (int32_t c = 0; c < kBlock; ++c) {
    const float power = exp_(x[c] - most), e = c < left ? power : 0.0f;
    y[c] = e;
    one[c] = e == 1.0f ? 1.0f : 0.0f;
    other[c] = e == 1.0f ? 0.0f : e;
  }
  sums->others.add(other, 1.0f);
  sums->ones.add(one, 1.0f);
}

static void softmax_forward(const SoftmaxForward& a, const Step& step, const Team& team) {
  const Range rows = part(rows_of(a.x, step), team);
  const int64_t columns = a.x.columns;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* x = a.x.data + r * a.x.pitch;
    float* y = a.y.data + r * a.y.pitch;
    const float most = row_max(x, columns);
    Exponentials sums;
    for_blocks(columns,
               [&](int64_t b, int32_t left) { exp_block(x + b, y + b, left, most, &sums); });
    const float inverse = 1.0f / (sums.others.sum() + sums.ones.sum());
#pragma omp simd
    for (int64_t c = 0; c < padded(columns); ++c) y[c] *= inverse;
  }
}

// dx = y (dy - sum dy y)
static void softmax_backward(const SoftmaxBackward& a, const Step& step, const Team& team) {
  const Range rows = part(rows_of(a.y, step), team);
  const int64_t columns = a.y.columns;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* y = a.y.data + r * a.y.pitch;
    const float* dy = a.dy.data + r * a.dy.pitch;
    float* dx = a.dx.data + r * a.dx.pitch;
    alignas(kAlignment) float product[kBlock];
    Lanes dot;
    for_blocks(columns, [&](int64_t b, int32_t left) {
#pragma omp simd
      for (int32_t c = 0; c < kBlock; ++c) {
        const float here = y[b + c] * dy[b + c];
        product[c] = c < left ? here : 0.0f;
      }
      dot.add(product, 1.0f);
    });
    const float all = dot.sum();
    for_blocks(columns, [&](int64_t b, int32_t left) {
#pragma omp simd
      for (int32_t c = 0; c < kBlock; ++c) {
        dx[b + c] = c < left ? y[b + c] * (dy[b + c] - all) : 0.0f;
      }
    });
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
