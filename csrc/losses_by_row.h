// Losses of a row as a whole.
#pragma once
#include "losses_elementwise.h"
#include "softmax.h"

namespace evengrad::EVENGRAD_TARGET {

namespace {

// Label smoothing: a part of the truth is spread evenly over the columns.
struct Smoothing {
  float keep, spread;
  static Smoothing of(const LossArgs& a) {
    const float part = a.parameter[0];
    return {1.0f - part, part / static_cast<float>(a.of.x.columns)};
  }
};

// x becomes p. With T = sum t the gradient p T - t is p (T - t) - t (1 - p): right at any logit,
// and small where the answer is right, as 1 - p is made of the other columns.
struct SoftmaxCrossEntropy {
  static constexpr Info kInfo{
      "softmax_cross_entropy", "-sum of t ln softmax(x)", {{"label_smoothing", 0.0f}}};
  static constexpr bool kGradient = true, kOverwrites = true;

  // Of each row: sum e^(x - max) - 1, sum t, sum t (x - max), weight.
  struct Logs {
    float rest[kChunkRows], truth[kChunkRows], picked[kChunkRows], weight[kChunkRows];
    int64_t rows = 0;
    void add(float e, float t, float chosen, float w) {
      rest[rows] = e, truth[rows] = t, picked[rows] = chosen, weight[rows] = w, ++rows;
    }
    double loss() const {
      double total = 0.0;
#pragma omp simd reduction(+ : total)
      for (int64_t i = 0; i < rows; ++i) {
        const float log_1 = log1p_unit(at_most(rest[i], 1.0f)), log_2 = log_(1.0f + rest[i]);
        const float log_sum = rest[i] > 1.0f ? log_2 : log_1;
        total += double{weight[i]} * double{truth[i] * log_sum - picked[i]};
      }
      return total;
    }
  };

  static double sum(const Rows& rows) {
    const int64_t columns = rows.a.of.x.columns;
    const Smoothing smooth = Smoothing::of(rows.a);
    Logs logs;
    rows.each([&](int64_t, const Row& row) {
      alignas(kAlignment) float one_hot[kBlock], truth[kBlock], chosen[kBlock];
      const float most = row_max(row.x, columns);
      Exponentials sums;
      Lanes all, picked;
      for_blocks(columns, [&](int64_t b, int32_t left) {
        const float* t = truth_of(row, b, one_hot);
        const float* x = row.x + b;
#pragma omp simd
        for (int32_t c = 0; c < kBlock; ++c) {
          const float smoothed = t[c] * smooth.keep + smooth.spread, depth = x[c] - most;
          const float here = c < left ? smoothed : 0.0f;
          truth[c] = here;
          chosen[c] = here == 0.0f ? 0.0f : here * depth;
        }
        all.add(truth, 1.0f), picked.add(chosen, 1.0f);
        exp_block(x, row.x + b, left, most, &sums);
      });
      const float others = sums.others.sum(), ones = sums.ones.sum();
      const float total = all.sum();
      logs.add(others + (ones - 1.0f), total, picked.sum(), row.weight);
      const float inverse = 1.0f / (others + ones), rest = (others + (ones - 1.0f)) * inverse;
      const float factor = row.weight / rows.divisor;
      alignas(kAlignment) float unwanted[kBlock];
      for_blocks(columns, [&](int64_t b, int32_t left) {
        const float* t = truth_of(row, b, one_hot);
        float* x = row.x + b;
        float* dx = row.dx ? row.dx + b : unwanted;
#pragma omp simd
        for (int32_t c = 0; c < kBlock; ++c) {
          const float here = t[c] * smooth.keep + smooth.spread, e = x[c], p = e * inverse;
          const float missing = e == 1.0f ? rest : 1.0f - p;
          x[c] = p;
          dx[c] = c < left ? (p * (total - here) - here * missing) * factor : 0.0f;
        }
      });
    });
    return logs.loss();
  }
};

// -sum t ln p, p = x / sum x held inside [e, 1 - e].
struct CategoricalCrossEntropy {
  static constexpr Info kInfo{"categorical_cross_entropy",
                              "-sum of t ln(x / sum x), held inside [1e-7, 1 - 1e-7]",
                              {{"label_smoothing", 0.0f}}};
  static constexpr bool kGradient = true, kOverwrites = false;

  static inline bool inside(float p) { return p >= kTiny && p <= 1.0f - kTiny; }

  static double sum(const Rows& rows) {
    const int64_t columns = rows.a.of.x.columns;
    const Smoothing smooth = Smoothing::of(rows.a);
    double sum = 0.0;
    rows.each([&](int64_t, const Row& row) {
      alignas(kAlignment) float one_hot[kBlock], a[kBlock], b[kBlock];
      Lanes loss, through;
      const float total = row_sum(row.x, columns);
      for_blocks(columns, [&](int64_t at, int32_t left) {
        const float *x = row.x + at, *t = truth_of(row, at, one_hot);
#pragma omp simd
        for (int32_t c = 0; c < kBlock; ++c) {
          const float here = t[c] * smooth.keep + smooth.spread, p = x[c] / total;
          const float log_p = log_(at_least(at_most(p, 1.0f - kTiny), kTiny));
          const bool counts = c < left && here != 0.0f;
          a[c] = counts ? here * log_p : 0.0f;
          b[c] = counts && inside(p) ? here : 0.0f;
        }
        loss.add(a, -1.0f), through.add(b, 1.0f);
      });
      sum += double{row.weight} * double{loss.sum()};
      if (!row.dx) return;
      const float factor = row.weight / rows.divisor, share = through.sum() / total;
      for_blocks(columns, [&](int64_t at, int32_t left) {
        const float *x = row.x + at, *t = truth_of(row, at, one_hot);
        float* dx = row.dx + at;
#pragma omp simd
        for (int32_t c = 0; c < kBlock; ++c) {
          const float here = t[c] * smooth.keep + smooth.spread, p = x[c] / total;
          const float direct = inside(p) && here != 0.0f ? here / x[c] : 0.0f;
          dx[c] = c < left ? (share - direct) * factor : 0.0f;
        }
      });
    });
    return sum;
  }
};

struct CosineSimilarity {
  static constexpr Info kInfo{
      "cosine_similarity", "-sum of x t / (|x| |t|), norms held above 1e-7", {}};
  static constexpr bool kGradient = true, kOverwrites = false;

  static inline float inverse_norm(float squares) {
    return at_most(1.0f / __builtin_sqrtf(squares), 1.0f / kTiny);
  }

  static double sum(const Rows& rows) {
    const int64_t columns = rows.a.of.x.columns;
    double sum = 0.0;
    rows.each([&](int64_t, const Row& row) {
      alignas(kAlignment) float one_hot[kBlock], xx[kBlock], tt[kBlock], xt[kBlock];
      Lanes x_squares, t_squares, products;
      for_blocks(columns, [&](int64_t b, int32_t left) {
        const float *x = row.x + b, *t = truth_of(row, b, one_hot);
#pragma omp simd
        for (int32_t c = 0; c < kBlock; ++c) {
          const float a = x[c], b = t[c];
          xx[c] = c < left ? a * a : 0.0f;
          tt[c] = c < left ? b * b : 0.0f;
          xt[c] = c < left ? a * b : 0.0f;
        }
        x_squares.add(xx, 1.0f), t_squares.add(tt, 1.0f), products.add(xt, 1.0f);
      });
      const float of_x = inverse_norm(x_squares.sum()), of_t = inverse_norm(t_squares.sum());
      const float cosine = products.sum() * of_x * of_t;
      sum -= double{row.weight} * double{cosine};
      if (!row.dx) return;
      const float factor = row.weight / rows.divisor * of_x;
      const float turn = of_x < 1.0f / kTiny ? cosine * of_x : 0.0f;
      for_blocks(columns, [&](int64_t b, int32_t left) {
        const float *x = row.x + b, *t = truth_of(row, b, one_hot);
        float* dx = row.dx + b;
#pragma omp simd
        for (int32_t c = 0; c < kBlock; ++c) {
          dx[c] = c < left ? (turn * x[c] - of_t * t[c]) * factor : 0.0f;
        }
      });
    });
    return sum;
  }
};

// Where several columns are the largest, each takes its part of the gradient.
struct CategoricalHinge {
  static constexpr Info kInfo{"categorical_hinge", "max(0, 1 + max of (1 - t) x - sum of t x)", {}};
  static constexpr bool kGradient = true, kOverwrites = false;

  static double sum(const Rows& rows) {
    const int64_t columns = rows.a.of.x.columns;
    double sum = 0.0;
    rows.each([&](int64_t, const Row& row) {
      alignas(kAlignment) float one_hot[kBlock], other[kBlock], right[kBlock];
      Lanes rights, ties;
      float most = -__builtin_inff();
      for_blocks(columns, [&](int64_t b, int32_t left) {
        const float *x = row.x + b, *t = truth_of(row, b, one_hot);
#pragma omp simd
        for (int32_t c = 0; c < kBlock; ++c) {
          const float a = (1.0f - t[c]) * x[c], b = t[c] * x[c];
          other[c] = c < left ? a : -__builtin_inff();
          right[c] = c < left ? b : 0.0f;
        }
        rights.add(right, 1.0f);
        const float here = row_max(other, kBlock);
        most = here > most ? here : most;
      });
      const float margin = most - rights.sum() + 1.0f;
      sum += double{row.weight} * double{at_least(margin, 0.0f)};
      if (!row.dx) return;
      for_blocks(columns, [&](int64_t b, int32_t left) {
        const float *x = row.x + b, *t = truth_of(row, b, one_hot);
#pragma omp simd
        for (int32_t c = 0; c < kBlock; ++c) {
          right[c] = c < left && (1.0f - t[c]) * x[c] == most ? 1.0f : 0.0f;
        }
        ties.add(right, 1.0f);
      });
      const float factor = margin > 0.0f ? row.weight / rows.divisor : 0.0f;
      const float share = 1.0f / ties.sum();
      for_blocks(columns, [&](int64_t b, int32_t left) {
        const float *x = row.x + b, *t = truth_of(row, b, one_hot);
        float* dx = row.dx + b;
#pragma omp simd
        for (int32_t c = 0; c < kBlock; ++c) {
          const float z = 1.0f - t[c], tie = z * x[c] == most ? z * share : 0.0f;
          dx[c] = c < left ? (tie - t[c]) * factor : 0.0f;
        }
      });
    });
    return sum;
  }
};

using Losses =
    TypeList<SoftmaxCrossEntropy, SigmoidCrossEntropy, CategoricalCrossEntropy, BinaryCrossEntropy,
             MeanSquaredError, MeanAbsoluteError, MeanAbsolutePercentageError,
             MeanSquaredLogarithmicError, Huber, LogCosh, Hinge, SquaredHinge, CategoricalHinge,
             KLDivergence, Poisson, CosineSimilarity>;

}  // namespace

}  // namespace evengrad::EVENGRAD_TARGET
