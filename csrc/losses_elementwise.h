// Losses that are means (or sums) over columns of a function of one prediction x and its truth t.
// One struct a loss: what it is called, its formula, its parameters; its value and its slope in x.
#pragma once
#include "losses.h"

namespace evengrad::EVENGRAD_TARGET {

namespace {

struct Point {
  float value, slope;
  float output = 0.0f;  // what x becomes
};

template <class F, bool kOver = false, bool kMean = true>
struct Elementwise {
  static constexpr bool kGradient = true, kOverwrites = kOver;

  static double sum(const Rows& rows) {
    const LossArgs& a = rows.a;
    const int64_t columns = a.of.x.columns;
    const float scale = kMean ? 1.0f / static_cast<float>(columns) : 1.0f;
    const float p[2] = {a.parameter[0], a.parameter[1]};
    alignas(kAlignment) float value[kBlock], one_hot[kBlock], unwanted[kBlock];
    double total = 0.0;
    Lanes sum;
    rows.each([&](int64_t r, const Row& row) {
      const float factor = row.weight / rows.divisor * scale;
      for_blocks(columns, [&](int64_t b, int32_t left) {
        float* x = row.x + b;
        float* dx = row.dx ? row.dx + b : unwanted;
        const float* t = truth_of(row, b, one_hot);
#pragma omp simd
        for (int32_t c = 0; c < kBlock; ++c) {
          const Point f = F::at(x[c], t[c], p);
          value[c] = c < left ? f.value : 0.0f;
          dx[c] = c < left ? f.slope * factor : 0.0f;
          if constexpr (kOver) x[c] = f.output;
        }
        sum.add(value, row.weight);
      });
      if (columns <= kBlock && r % kBlock != kBlock - 1) return;
      total += double{sum.sum()};  // no lane adds up more than some numbers in float
      sum = {};
    });
    return (total + double{sum.sum()}) * double{scale};
  }
};

struct MeanSquaredError : Elementwise<MeanSquaredError> {
  static constexpr Info kInfo{"mean_squared_error", "mean of (x - t)^2", {}};
  static inline Point at(float x, float t, const float*) {
    const float d = x - t;
    return {d * d, 2.0f * d};
  }
};

static inline float sign_of(float d) { return d > 0.0f ? 1.0f : (d < 0.0f ? -1.0f : d); }

struct MeanAbsoluteError : Elementwise<MeanAbsoluteError> {
  static constexpr Info kInfo{"mean_absolute_error", "mean of |x - t|", {}};
  static inline Point at(float x, float t, const float*) { return {fabs_(x - t), sign_of(x - t)}; }
};

struct MeanAbsolutePercentageError : Elementwise<MeanAbsolutePercentageError> {
  static constexpr Info kInfo{
      "mean_absolute_percentage_error", "100 mean of |x - t| / max(|t|, 1e-7)", {}};
  static inline Point at(float x, float t, const float*) {
    const float each = 100.0f / at_least(fabs_(t), kTiny);
    return {fabs_(x - t) * each, sign_of(x - t) * each};
  }
};

struct MeanSquaredLogarithmicError : Elementwise<MeanSquaredLogarithmicError> {
  static constexpr Info kInfo{"mean_squared_logarithmic_error",
                              "mean of (ln(1 + max(x, 1e-7)) - ln(1 + max(t, 1e-7)))^2",
                              {}};
  static inline Point at(float x, float t, const float*) {
    const float a = at_least(x, kTiny) + 1.0f, b = at_least(t, kTiny) + 1.0f;
    const float d = log_(a) - log_(b);
    return {d * d, x > kTiny ? 2.0f * d / a : 0.0f * x};
  }
};

struct Huber : Elementwise<Huber> {
  static constexpr Info kInfo{"huber",
                              "mean of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2)",
                              {{"delta", 1.0f}}};
  static inline Point at(float x, float t, const float* p) {
    const float d = x - t, held = at_least(at_most(d, p[0]), -p[0]);
    return {held * (d - 0.5f * held), held};
  }
};

// |d| + ln(1 + e^(-2|d|)) - ln 2; for small d as ln(1 + 2 sinh^2(d / 2)), which keeps its digits.
struct LogCosh : Elementwise<LogCosh> {
  static constexpr Info kInfo{"log_cosh", "mean of ln cosh(x - t)", {}};
  static inline Point at(float x, float t, const float*) {
    const float d = x - t, a = fabs_(d), h = 0.5f * a, z = h * h;
    const float s = h + h * z * (0.166666672f + z * (8.33333377e-3f + z * 1.98412701e-4f));
    const bool near = a < 1.0f;
    const float u = near ? 2.0f * s * s : exp_(-2.0f * a);
    return {log1p_unit(u) + (near ? 0.0f : a - 0.693147182f), tanh_(d)};
  }
};

// Labels 0 count as -1.
static inline float side_of(float t) { return t == 0.0f ? -1.0f : t; }

struct Hinge : Elementwise<Hinge> {
  static constexpr Info kInfo{"hinge", "mean of max(1 - t x, 0), t = -1 where it is 0", {}};
  static inline Point at(float x, float t, const float*) {
    const float side = side_of(t), m = 1.0f - side * x;
    return {at_least(m, 0.0f), m > 0.0f ? -side : 0.0f};
  }
};

struct SquaredHinge : Elementwise<SquaredHinge> {
  static constexpr Info kInfo{
      "squared_hinge", "mean of max(1 - t x, 0)^2, t = -1 where it is 0", {}};
  static inline Point at(float x, float t, const float*) {
    const float side = side_of(t), m = at_least(1.0f - side * x, 0.0f);
    return {m * m, -2.0f * side * m};
  }
};

// ln x for all x: NaN below 0, -inf at 0.
static inline float log_of_any(float x) {
  const float low = x == 0.0f ? -__builtin_inff() : __builtin_nanf("");
  return x <= 0.0f ? low : log_(x);
}

struct Poisson : Elementwise<Poisson> {
  static constexpr Info kInfo{"poisson", "mean of x - t ln(x + 1e-7)", {}};
  static inline Point at(float x, float t, const float*) {
    const float y = x + kTiny;
    return {x - t * log_of_any(y), 1.0f - t / y};
  }
};

struct KLDivergence : Elementwise<KLDivergence, false, false> {
  static constexpr Info kInfo{
      "kl_divergence", "sum of t ln(t / x), both held inside [1e-7, 1]", {}};
  static inline Point at(float x, float t, const float*) {
    const float p = at_least(at_most(x, 1.0f), kTiny), q = at_least(at_most(t, 1.0f), kTiny);
    return {q * log_(q / p), x >= kTiny && x <= 1.0f ? -q / p : 0.0f * x};
  }
};

struct SigmoidCrossEntropy : Elementwise<SigmoidCrossEntropy, true> {
  static constexpr Info kInfo{"sigmoid_cross_entropy",
                              "mean of -t ln p - (1 - t) ln(1 - p), p = sigmoid(x)",
                              {{"label_smoothing", 0.0f}}};
  static inline Point at(float x, float truth, const float* p) {
    const float t = truth * (1.0f - p[0]) + 0.5f * p[0];
    const Reduced b = reduce_exp(at_least(-fabs_(x), -105.0f));
    const float e = scale_down(mantissa(b), b.n), w = 1.0f + e;
    float large = 1.0f / w;
    large = large - large * (e - (w - 1.0f));
    const float small = e * large;  // p and 1 - p, each with all its digits
    const float right = x < 0.0f ? small : large, wrong = x < 0.0f ? large : small;
    return {at_least(x, 0.0f) - x * t + log1p_unit(e), right * (1.0f - t) - wrong * t, right};
  }
};

struct BinaryCrossEntropy : Elementwise<BinaryCrossEntropy> {
  static constexpr Info kInfo{"binary_cross_entropy",
                              "mean of -t ln x - (1 - t) ln(1 - x), x held inside [1e-7, 1 - 1e-7]",
                              {{"label_smoothing", 0.0f}}};
  static inline Point at(float x, float truth, const float* s) {
    const float t = truth * (1.0f - s[0]) + 0.5f * s[0];
    const float p = at_least(at_most(x, 1.0f - kTiny), kTiny), q = 1.0f - p;
    const bool inside = x >= kTiny && x <= 1.0f - kTiny;
    return {-(t * log_(p) + (1.0f - t) * log_(q)), inside ? (p - t) / (p * q) : 0.0f};
  }
};

}  // namespace

}  // namespace evengrad::EVENGRAD_TARGET
