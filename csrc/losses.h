// What losses and metrics by rows have in common. A row's loss and its gradient are made together;
// sums over rows go through fixed chunks, combined in double in their order. The gradient is that
// of the reduced loss.
#pragma once
#include "activations.h"
#include "blocks.h"

namespace evengrad::EVENGRAD_TARGET {

namespace {

constexpr float kTiny = 1e-7f;  // Keras' epsilon: probabilities are held inside [e, 1 - e]

struct Row {
  float* x;
  const float* target;  // null: label
  float* dx;            // null: not wanted
  int64_t label;
  float weight;
};
static inline Row row_of(const Compared& of, const Tensor& dx, int64_t r) {
  const int64_t sample = of.x.per_sample == 1 ? r : r / of.x.per_sample;
  return {of.x.data + r * of.x.pitch,
          of.target.data ? of.target.data + r * of.target.pitch : nullptr,
          dx.data ? dx.data + r * dx.pitch : nullptr, of.labels ? of.labels[sample] : 0,
          of.weight ? of.weight[sample] : 1.0f};
}

// The truth for a block that begins at column b: where it lies, or a label's ones and zeros.
static inline const float* truth_of(const Row& row, int64_t b, float (&one_hot)[kBlock]) {
  if (row.target) return row.target + b;
  const int64_t at = row.label - b;
  const int32_t hot = at >= 0 && at < kBlock ? static_cast<int32_t>(at) : -1;
#pragma omp simd
  for (int32_t c = 0; c < kBlock; ++c) one_hot[c] = c == hot ? 1.0f : 0.0f;
  return one_hot;
}

static inline bool label_fits(int64_t label, int64_t columns, Control* control) {
  if (label >= 0 && label < columns) return true;
  fail(control, Failure::kLabel, label);
  return false;
}

// Some of the rows of a batch, and what the gradient is divided by.
struct Rows {
  const LossArgs& a;
  float divisor;
  Control* control;
  int64_t begin, end;

  // Of row r with a truth that fits; of another, none.
  template <class Body>
  void each(Body body) const {
    for (int64_t r = begin; r < end; ++r) {
      const Row row = row_of(a.of, a.dx, r);
      if (a.of.target.data || label_fits(row.label, a.of.x.columns, control)) body(r, row);
    }
  }
};

static inline double sum_of_weights(const Compared& of, int64_t samples) {
  const double rows = static_cast<double>(samples * of.x.per_sample);
  if (!of.weight) return rows;
  const float* weight = of.weight;
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < samples; ++i) sum += weight[i];
  return sum * static_cast<double>(of.x.per_sample);
}
static inline double divisor_of(const LossArgs& a, int64_t samples) {
  if (a.reduction == Reduction::kWeightedMean) return sum_of_weights(a.of, samples);
  if (a.reduction == Reduction::kMean) return static_cast<double>(samples * a.of.x.per_sample);
  return 1.0;
}

// Sum of weight * L over rows, one by one where each is wanted.
template <class L>
static double sum_of(const Rows& rows) {
  if (!rows.a.each) return L::sum(rows);
  double total = 0.0;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const double one = L::sum({rows.a, rows.divisor, rows.control, r, r + 1});
    rows.a.each[r] = static_cast<float>(one);
    total += one;
  }
  return total;
}

template <class L>
static void loss(const LossArgs& a, const Step& step, const Team& team) {
  const int64_t rows = rows_of(a.of.x, step);
  const double divisor = divisor_of(a, step.rows);
  const double scale = divisor == 0.0 ? 0.0 : 1.0 / divisor;  // all weights 0: no loss
  const Chunks chunks = chunks_of(rows);
  const Range mine = part(chunks.count, team);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    const int64_t end = (i + 1) * chunks.size;
    const float by = divisor == 0.0 ? 1.0f : static_cast<float>(divisor);
    a.partial[i] = sum_of<L>({a, by, step.control, i * chunks.size, end < rows ? end : rows});
  }
  team.wait();
  if (team.rank != 0) return;
  double total = 0.0;
  for (int64_t i = 0; i < chunks.count; ++i) total += a.partial[i];
  const bool finite = __builtin_isfinite(total);  // evaluation may report infinity
  if (a.dx.data && !finite) return fail(step.control, Failure::kLoss, 0);
  if (a.reduction == Reduction::kNone) {
    a.result[0] += total;
    a.result[1] += sum_of_weights(a.of, step.rows);
  } else {
    a.result[0] += total * scale * static_cast<double>(rows);
    a.result[1] += static_cast<double>(rows);
  }
}

template <class L>
static constexpr RowFunction row_function() {
  RowFunction f{L::kInfo.name,
                L::kInfo.formula,
                L::kGradient,
                L::kOverwrites,
                0,
                {},
                {},
                erase<LossArgs, loss<L>>()};
  for (int i = 0; i < 2 && L::kInfo.parameters[i].name; ++i) {
    f.parameter_name[i] = L::kInfo.parameters[i].name;
    f.parameter_default[i] = L::kInfo.parameters[i].value;
    f.parameters = i + 1;
  }
  return f;
}
template <class... L>
struct RowFunctions {
  static constexpr int kCount = sizeof...(L);
  RowFunction entries[kCount];
};
template <class... L>
static constexpr RowFunctions<L...> row_functions_of(TypeList<L...>) {
  return {{row_function<L>()...}};
}

}  // namespace

}  // namespace evengrad::EVENGRAD_TARGET
