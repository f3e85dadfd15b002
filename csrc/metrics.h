// Metrics that are means over rows and no losses: accuracies.
#pragma once
#include "losses_elementwise.h"
#include "softmax.h"

namespace evengrad::EVENGRAD_TARGET {

namespace {

struct BinaryAccuracy : Elementwise<BinaryAccuracy> {
  static constexpr Info kInfo{
      "binary_accuracy", "share of columns where (x > threshold) is t", {{"threshold", 0.5f}}};
  static constexpr bool kGradient = false;
  static inline Point at(float x, float t, const float* p) {
    return {(x > p[0] ? 1.0f : 0.0f) == t ? 1.0f : 0.0f, 0.0f};
  }
};

// First of the largest, as numpy's argmax; NaN counts as largest. Columns are counted in float, as
// far as kMostColumns.
static inline int64_t argmax(const float* x, int64_t columns) {
  const float most = row_max(x, columns);
  constexpr float kBefore = 0x1p24f;
  alignas(kAlignment) float first[kBlock];
#pragma omp simd
  for (int32_t c = 0; c < kBlock; ++c) first[c] = kBefore;
  for_blocks(columns, [&](int64_t b, int32_t left) {
    const int32_t begin = static_cast<int32_t>(b);
#pragma omp simd
    for (int32_t c = 0; c < kBlock; ++c) {
      const float here = x[b + c], column = static_cast<float>(begin + c);
      const float of_number = here == most ? column : kBefore;
      const float found = here == here ? of_number : column - kBefore;
      first[c] = c < left && found < first[c] ? found : first[c];
    }
  });
  const float column = min_of_block(first);
  return static_cast<int64_t>(column < 0.0f ? column + kBefore : column);
}

// How many columns come before `label`: those above it, and with kFirst equal ones to its left.
template <bool kFirst>
static inline int64_t rank_of(const float* x, int64_t columns, int64_t label) {
  const float at = x[label];
  alignas(kAlignment) float beats[kBlock];
  Lanes rank;
  for_blocks(columns, [&](int64_t b, int32_t left) {
    const int64_t ahead = label - b;
    const int32_t before = ahead < kBlock ? static_cast<int32_t>(ahead) : kBlock;
#pragma omp simd
    for (int32_t c = 0; c < kBlock; ++c) {
      const float here = x[b + c];
      float beaten = here > at ? 1.0f : 0.0f;
      if constexpr (kFirst) {
        const float not_below = here < at ? 0.0f : 1.0f, not_at_most = here <= at ? 0.0f : 1.0f;
        beaten = c < before ? not_below : not_at_most;
        beaten = c == before ? 0.0f : beaten;
      }
      beats[c] = c < left ? beaten : 0.0f;
    }
    rank.add(beats, 1.0f);
  });
  return static_cast<int64_t>(rank.sum());
}

static inline bool is_argmax(const float* x, int64_t columns, int64_t label) {
  return x[label] == x[label] ? rank_of<true>(x, columns, label) == 0 : argmax(x, columns) == label;
}

struct CategoricalAccuracy {
  static constexpr Info kInfo{
      "categorical_accuracy", "whether x is largest where t is, the first of the largest", {}};
  static constexpr bool kGradient = false, kOverwrites = false;

  static double sum(const Rows& rows) {
    const int64_t columns = rows.a.of.x.columns;
    double sum = 0.0;
    rows.each([&](int64_t, const Row& row) {
      const bool hit = row.target ? argmax(row.x, columns) == argmax(row.target, columns)
                                  : is_argmax(row.x, columns, row.label);
      sum += hit ? double{row.weight} : 0.0;
    });
    return sum;
  }
};

struct TopKAccuracy {
  static constexpr Info kInfo{"top_k_accuracy",
                              "whether fewer than k columns are above that where t is largest",
                              {{"k", 5.0f}}};
  static constexpr bool kGradient = false, kOverwrites = false;

  static double sum(const Rows& rows) {
    const int64_t columns = rows.a.of.x.columns;
    const auto k = static_cast<int64_t>(rows.a.parameter[0]);
    double sum = 0.0;
    rows.each([&](int64_t, const Row& row) {
      const int64_t label = row.target ? argmax(row.target, columns) : row.label;
      const float at = row.x[label];
      const bool hit = at == at && rank_of<false>(row.x, columns, label) < k;
      sum += hit ? double{row.weight} : 0.0;
    });
    return sum;
  }
};

using Metrics = TypeList<BinaryAccuracy, CategoricalAccuracy, TopKAccuracy>;

}  // namespace

}  // namespace evengrad::EVENGRAD_TARGET
