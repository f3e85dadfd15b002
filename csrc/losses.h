// Losses with their gradient, and metrics. A row's loss and its gradient are made together; sums
// over rows go through fixed chunks, combined in double in their order.
// The gradient is that of sum(weight * loss) / rows.
#pragma once
#include "softmax.h"

namespace evengrad::EVENGRAD_TARGET {

constexpr float kTiny = 1e-7f;  // Keras' epsilon: probabilities are held inside [e, 1 - e]

// One row. target is null when label counts. dx is null when no gradient is wanted.
struct Row {
  float* x;
  int64_t columns;
  int32_t label;
  const float* target;
  float* dx;
  float factor;  // weight / rows
};

static inline float target_of(const Row& row, int64_t c) {
  return row.target ? row.target[c] : (c == row.label ? 1.0f : 0.0f);
}

// -sum t log softmax(x); dx = (p sum t - t) factor, at any logit. x becomes p.
static float softmax_cross_entropy(const Row& row) {
  const int64_t n = row.columns;
  float* x = row.x;
  const float most = row_max(x, n);
  float total = 1.0f, picked = 0.0f;  // sum t, sum t (x - max)
  if (row.target) {
    const float* t = row.target;
    total = 0.0f;
#pragma omp simd reduction(+ : total, picked)
    for (int64_t c = 0; c < n; ++c) {
      total += t[c];
      picked += t[c] != 0.0f ? t[c] * (x[c] - most) : 0.0f;
    }
  } else {
    picked = x[row.label] - most;
  }
  const float sum = row_exp(x, x, n, most);
  row_scale(x, n, 1.0f / sum);
  if (row.dx) {
    const float scale = total * row.factor;
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) row.dx[c] = x[c] * scale;
    if (row.target) {
#pragma omp simd
      for (int64_t c = 0; c < n; ++c) row.dx[c] -= row.target[c] * row.factor;
    } else {
      // p - 1 without cancellation where p is nearly 1: minus the others' sum.
      float others = 0.0f;
      for (int64_t c = 0; c < n; ++c) others += c == row.label ? 0.0f : x[c];
      row.dx[row.label] = -others * row.factor;
    }
  }
  return total * log_(sum) - picked;
}

// mean over columns of max(x, 0) - x t + log(1 + e^-|x|); dx = (p - t) factor / columns.
static float sigmoid_cross_entropy(const Row& row) {
  const int64_t n = row.columns;
  const float inverse = 1.0f / static_cast<float>(n);
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < n; ++c) {
    const float x = row.x[c], t = target_of(row, c);
    sum += softplus_(x) - x * t;
    row.x[c] = sigmoid_(x);
    if (row.dx) {
      // p - t as p (1 - t) - (1 - p) t: exact when t is 0 or 1.
      row.dx[c] = (row.x[c] * (1.0f - t) - sigmoid_(-x) * t) * (row.factor * inverse);
    }
  }
  return sum * inverse;
}

// -sum t log(x / sum x), held inside [e, 1 - e].
static float categorical_cross_entropy(const Row& row) {
  const int64_t n = row.columns;
  float total = 0.0f, loss = 0.0f, through = 0.0f;
  for (int64_t c = 0; c < n; ++c) total += row.x[c];
  for (int64_t c = 0; c < n; ++c) {
    const float t = target_of(row, c), p = row.x[c] / total;
    if (t == 0.0f) continue;
    loss -= t * log_(at_least(at_most(p, 1.0f - kTiny), kTiny));
    if (p >= kTiny && p <= 1.0f - kTiny) through += t;
  }
  if (row.dx) {
    for (int64_t c = 0; c < n; ++c) {
      const float t = target_of(row, c), p = row.x[c] / total;
      const bool inside = p >= kTiny && p <= 1.0f - kTiny;
      const float direct = inside && t != 0.0f ? t / row.x[c] : 0.0f;
      row.dx[c] = (through / total - direct) * row.factor;
    }
  }
  return loss;
}

// mean over columns of -t log p - (1 - t) log(1 - p), p held inside [e, 1 - e].
static float binary_cross_entropy(const Row& row) {
  const int64_t n = row.columns;
  const float inverse = 1.0f / static_cast<float>(n);
  float sum = 0.0f;
  for (int64_t c = 0; c < n; ++c) {
    const float t = target_of(row, c), x = row.x[c];
    const float p = at_least(at_most(x, 1.0f - kTiny), kTiny);
    sum -= t * log_(p) + (1.0f - t) * log_(1.0f - p);
    if (row.dx) {
      const bool inside = x >= kTiny && x <= 1.0f - kTiny;
      row.dx[c] = inside ? (p - t) / (p * (1.0f - p)) * (row.factor * inverse) : 0.0f;
    }
  }
  return sum * inverse;
}

// mean over columns of (x - t)^2
static float mean_squared_error(const Row& row) {
  const int64_t n = row.columns;
  const float inverse = 1.0f / static_cast<float>(n);
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < n; ++c) {
    const float d = row.x[c] - target_of(row, c);
    sum += d * d;
    if (row.dx) row.dx[c] = d * (2.0f * inverse * row.factor);
  }
  return sum * inverse;
}

using RowLoss = float (*)(const Row&);
static constexpr RowLoss kRowLosses[] = {softmax_cross_entropy, sigmoid_cross_entropy,
                                         categorical_cross_entropy, binary_cross_entropy,
                                         mean_squared_error};

// Calls body(row number) for the caller's chunks of rows, keeps the chunks' sums, and lets the
// first thread add them up in order.
template <class Body>
static inline void sum_rows(int64_t rows, const Team& team, double* partial, double* result,
                            Control* control, Body body) {
  const Chunks chunks = chunks_of(rows);
  const Range mine = part(chunks.count, team);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    double sum = 0.0;
    for (int64_t r = i * chunks.size; r < (i + 1) * chunks.size && r < rows; ++r) sum += body(r);
    partial[i] = sum;
  }
  team.wait();
  if (team.rank != 0) return;
  double total = 0.0;
  for (int64_t i = 0; i < chunks.count; ++i) total += partial[i];
  if (control && !__builtin_isfinite(total)) return fail(control, Failure::kLoss, 0);
  *result += total;
}

static inline bool label_fits(int32_t label, int64_t columns, const Step& step) {
  if (label >= 0 && label < columns) return true;
  fail(step.control, Failure::kLabel, label);
  return false;
}

static void loss(const LossArgs& a, const Step& step, const Team& team) {
  const int64_t rows = rows_of(a.x, step);
  const RowLoss run = kRowLosses[static_cast<int>(a.kind)];
  Control* control = a.dx.data ? step.control : nullptr;  // evaluation may report infinity
  sum_rows(rows, team, a.partial, a.result, control, [&](int64_t r) {
    const float weight = a.weight ? a.weight[r / a.x.per_sample] : 1.0f;
    Row row{a.x.data + r * a.x.pitch, a.x.columns, 0, nullptr, nullptr, 0.0f};
    row.factor = weight / static_cast<float>(rows);
    if (a.target.data) row.target = a.target.data + r * a.target.pitch;
    if (a.labels) row.label = a.labels[r];
    if (a.labels && !label_fits(row.label, a.x.columns, step)) return 0.0;
    if (a.dx.data) {
      row.dx = a.dx.data + r * a.dx.pitch;
      for (int64_t c = a.x.columns; c < padded(a.x.columns); ++c) row.dx[c] = 0.0f;
    }
    return weight * static_cast<double>(run(row));
  });
}

// First of the largest, as numpy's argmax; NaN counts as largest.
static inline int64_t argmax(const float* x, int64_t columns) {
  int64_t best = 0;
  for (int64_t c = 1; c < columns && x[best] == x[best]; ++c) {
    if (!(x[c] <= x[best])) best = c;
  }
  return best;
}

static double row_metric(Metric kind, const float* x, int64_t columns, int32_t label,
                         const float* target) {
  if (kind == Metric::kSparseAccuracy) return argmax(x, columns) == label;
  if (kind == Metric::kCategoricalAccuracy) return argmax(x, columns) == argmax(target, columns);
  double sum = 0.0;
  for (int64_t c = 0; c < columns; ++c) {
    const float t = target ? target[c] : (c == label ? 1.0f : 0.0f);
    const double d = static_cast<double>(x[c]) - t;
    if (kind == Metric::kBinaryAccuracy) sum += (x[c] > 0.5f ? 1.0f : 0.0f) == t;
    if (kind == Metric::kSquaredError) sum += d * d;
    if (kind == Metric::kAbsoluteError) sum += d < 0.0 ? -d : d;
  }
  return sum / static_cast<double>(columns);
}

static void metric(const MetricArgs& a, const Step& step, const Team& team) {
  sum_rows(rows_of(a.x, step), team, a.partial, a.result, nullptr, [&](int64_t r) {
    return row_metric(a.kind, a.x.data + r * a.x.pitch, a.x.columns, a.labels ? a.labels[r] : 0,
                      a.target.data ? a.target.data + r * a.target.pitch : nullptr);
  });
}

}  // namespace evengrad::EVENGRAD_TARGET
