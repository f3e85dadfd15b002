// Sums that metrics are made of: truth between thresholds, sums for each column. A batch goes in
// parts that depend on its shape alone, combined in order.
#pragma once
#include "losses.h"
#include "softmax.h"

namespace evengrad::EVENGRAD_TARGET {

namespace {

// Adds add(rows, to) of each part of the batch to the result, `count` numbers.
template <class Add>
static inline void sum_parts(const Compared& of, double* partial, double* result, int64_t count,
                             const Step& step, const Team& team, Add add) {
  constexpr int64_t kPartElements = 4096;
  const int64_t rows = rows_of(of.x, step), many = rows * of.x.columns / kPartElements;
  const int64_t parts = many < 1 ? 1 : (many < kMostParts ? many : kMostParts);
  const Range mine = part(parts, team);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    double* to = parts == 1 ? result : partial + i * count;
    if (parts > 1) __builtin_memset(to, 0, static_cast<size_t>(count) * sizeof(double));
    const Range range{rows * i / parts, rows * (i + 1) / parts};
    for (int64_t r = range.begin; r < range.end; ++r) {
      const Row row = row_of(of, {}, r);
      if (row.target || label_fits(row.label, of.x.columns, step.control)) add(row, to);
    }
  }
  if (parts == 1) return;
  team.wait();
  if (team.rank != 0) return;
  for (int64_t i = 0; i < parts; ++i) {
    const double* from = partial + i * count;
#pragma omp simd
    for (int64_t k = 0; k < count; ++k) result[k] += from[k];
  }
}

// The last of the k largest, the first of equal ones first: those before it are above, or equal
// and to its left.
struct Last {
  float value;
  int64_t column;
  bool admits(float x, int64_t c) const { return x > value || (x == value && c <= column); }
};
static inline Last last_of_largest(const float* x, int64_t columns, int64_t k) {
  Last last{__builtin_inff(), -1};
  for (int64_t i = 0; i < k; ++i) {
    Last next{-__builtin_inff(), columns};
    for (int64_t c = 0; c < columns; ++c) {
      if (!last.admits(x[c], c) && x[c] > next.value) next = {x[c], c};
    }
    last = next;
  }
  return last;
}

constexpr float kNotAmongTopK = -1e10f;  // as Keras has it

// How many thresholds are below each x of a block. NaN is above none.
static inline void buckets_of(const ConfusionArgs& a, const float* x, int32_t* bucket) {
  if (a.even) {  // as Keras finds it: from the rounded product, not from the threshold
    const float steps = static_cast<float>(a.count - 1);
    const int32_t least = a.thresholds[0] < 0.0f ? 1 : 0;
#pragma omp simd
    for (int32_t c = 0; c < kBlock; ++c) {
      const float p = x[c] > 0.0f ? at_most(x[c], 1.0f) : 0.0f, z = p * steps;
      const int32_t whole = static_cast<int32_t>(z);
      const int32_t up = whole + (static_cast<float>(whole) < z ? 1 : 0);
      bucket[c] = up > least ? up : least;
    }
    return;
  }
#pragma omp simd
  for (int32_t c = 0; c < kBlock; ++c) bucket[c] = 0;
  for (int64_t i = 0; i < a.count; ++i) {
    const float threshold = a.thresholds[i];
#pragma omp simd
    for (int32_t c = 0; c < kBlock; ++c) bucket[c] += x[c] > threshold ? 1 : 0;
  }
}

static void confusion(const ConfusionArgs& a, const Step& step, const Team& team) {
  const int64_t columns = a.of.x.columns, width = a.count + 1;
  const int64_t size = (a.by_column ? columns : 1) * 2 * width;
  sum_parts(a.of, a.partial, a.result, size, step, team, [&](const Row& row, double* to) {
    alignas(kAlignment) float x[kBlock], one_hot[kBlock];
    alignas(kAlignment) int32_t bucket[kBlock];
    Last last{};
    if (a.top_k) last = last_of_largest(row.x, columns, a.top_k);
    const double weight = row.weight;
    for_blocks(columns, [&](int64_t b, int32_t left) {
      const float* t = truth_of(row, b, one_hot);
      for (int32_t c = 0; c < kBlock; ++c) {
        const float here = row.x[b + c];
        x[c] = !a.top_k || last.admits(here, b + c) ? here : kNotAmongTopK;
      }
      buckets_of(a, x, bucket);
      const int32_t true_side = static_cast<int32_t>(width);
#pragma omp simd
      for (int32_t c = 0; c < kBlock; ++c) bucket[c] += t[c] != 0.0f ? true_side : 0;
      const int64_t at = a.class_id - b;
      const int32_t begin =
          a.class_id < 0 ? 0 : (at >= 0 && at < left ? static_cast<int32_t>(at) : left);
      const int32_t end = a.class_id < 0 || begin == left ? left : begin + 1;
      const int64_t apart = a.by_column ? 2 * width : 0;
      for (int32_t c = begin; c < end; ++c) to[(b + c) * apart + bucket[c]] += weight;
    });
  });
}

struct Terms {
  double a, b, c;
};
// Predicted and true, predicted, true.
struct FScore {
  static constexpr bool kByLargest = true;
  static inline Terms at(float x, float t, float cut, bool largest) {
    const bool yes = largest ? x >= cut && fabs_(x) > 1e-9f : x > cut;
    return {yes ? double{t} : 0.0, yes ? 1.0 : 0.0, double{t}};
  }
};
// Sums of t, t^2, (x - t)^2.
struct R2 {
  static constexpr bool kByLargest = false;
  static inline Terms at(float x, float t, float, bool) {
    const double truth = t, error = x - truth;
    return {truth, truth * truth, error * error};
  }
};

template <class F>
static void column_sums(const ColumnSumsArgs& a, const Step& step, const Team& team) {
  const int64_t columns = a.of.x.columns;
  sum_parts(a.of, a.partial, a.result, 3 * columns + 2, step, team,
            [&](const Row& row, double* to) {
              alignas(kAlignment) float one_hot[kBlock];
              const bool largest = F::kByLargest && a.threshold < 0.0f;
              const float cut = largest ? row_max(row.x, columns) : a.threshold;
              const double weight = row.weight;
              for_blocks(columns, [&](int64_t b, int32_t left) {
                const float *x = row.x + b, *t = truth_of(row, b, one_hot);
                double *sa = to + b, *sb = sa + columns, *sc = sb + columns;
#pragma omp simd
                for (int32_t c = 0; c < left; ++c) {
                  const Terms f = F::at(x[c], t[c], cut, largest);
                  sa[c] += weight * f.a;
                  sb[c] += weight * f.b;
                  sc[c] += weight * f.c;
                }
              });
              to[3 * columns] += weight;
              to[3 * columns + 1] += 1.0;
            });
}

}  // namespace

}  // namespace evengrad::EVENGRAD_TARGET
