// Philox4x32-10 (Salmon et al., 2011, doi 10.1145/2063384.2063405) and what draws from it. Each
// number depends on key (seed, layer) and counter (update, row, column) alone, so neither threads
// nor padding change a draw.
#pragma once
#include "fastmath.h"
#include "parallel.h"

namespace evengrad::EVENGRAD_TARGET {

// Draws for 64 columns of a row: the four numbers of 16 counters, each in a line of its own. So the
// number for a column depends on nothing but row and column.
constexpr int64_t kLane = kPitchFloats, kDrawn = 4 * kLane;
struct Draws {
  uint32_t v[4][kLane];
};

struct Key {
  uint32_t low, high, update;  // of seed and layer, and what changes with each step
};
static inline Key key_of(const Step& step, uint32_t layer) {
  return {static_cast<uint32_t>(step.seed) ^ layer * 0x9E3779B9u,
          static_cast<uint32_t>(step.seed >> 32), static_cast<uint32_t>(step.iteration)};
}

static inline void philox(const Key& key, int64_t row, int64_t block, Draws& draws) {
#pragma omp simd
  for (int64_t lane = 0; lane < kLane; ++lane) {
    uint32_t c0 = static_cast<uint32_t>(block * kLane + lane), c1 = static_cast<uint32_t>(row);
    uint32_t c2 = key.update, c3 = 0u, k0 = key.low, k1 = key.high;
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      const uint64_t a = uint64_t{0xD2511F53u} * c0, b = uint64_t{0xCD9E8D57u} * c2;
      c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
      c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
      c1 = static_cast<uint32_t>(b);
      c3 = static_cast<uint32_t>(a);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    draws.v[0][lane] = c0;
    draws.v[1][lane] = c1;
    draws.v[2][lane] = c2;
    draws.v[3][lane] = c3;
  }
}

// body(row, first column, draws of the 16 columns from there) for the caller's share of x.
template <class Body>
static inline void for_draws(const Tensor& x, const Step& step, const Team& team, uint32_t layer,
                             Body body) {
  const Share share = share_of(x, step, team);
  const Key key = key_of(step, layer);
  Draws draws;
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    for (int64_t c = share.columns.begin; c < share.columns.end; c += kLane) {
      const int64_t line = c / kLane % 4;
      if (line == 0 || c == share.columns.begin) philox(key, r, c / kDrawn, draws);
      body(r, c, draws.v[line]);
    }
  }
}

// Forward and backward draw the same.
static void dropout(const Dropout& a, const Step& step, const Team& team) {
  const uint32_t threshold = static_cast<uint32_t>(a.rate * 4294967296.0);  // below: dropped
  const float scale = a.scale, shift = a.shift, dropped = a.dropped;
  const Tensor from = a.x, to = a.y;
  for_draws(from, step, team, a.layer, [=](int64_t r, int64_t c, const uint32_t* draws) {
    const float* x = from.data + r * from.pitch + c;
    float* y = to.data + r * to.pitch + c;
#pragma omp simd
    for (int64_t i = 0; i < kLane; ++i)
      y[i] = draws[i] < threshold ? dropped : x[i] * scale + shift;
  });
}

// The normal number that (bits + 1/2) / 2^32 of all are below; max relative error 5e-7.
// With p = 2 (bits + 1/2) / 2^32 - 1 it is p times a function of w = -ln(1 - p^2), which is smooth
// from the middle far into the tails. 1 - |p| is made of the integer, so that no tail is cut off.
static inline float normal_of(uint32_t bits) {
  const auto s = static_cast<int32_t>(bits ^ 0x80000000u);
  const int32_t m = s < 0 ? ~s : s;
  const float rest = (static_cast<float>(INT32_MAX - m) + 0.5f) * 0x1p-31f;
  const float w = -log_(rest * (2.0f - rest));
  float p = 2.88290542e-5f;
  p = p * w + 1.01984455e-3f;
  p = p * w + 1.20534422e-2f;
  p = p * w + 9.08555463e-2f;
  p = p * w + 4.55645233e-1f;
  p = p * w + 1.25331426f;
  float q = 9.80251109e-7f;
  q = q * w + 1.69703402e-4f;
  q = q * w + 2.35519605e-3f;
  q = q * w + 3.28077078e-2f;
  q = q * w + 1.01756230e-1f;
  q = q * w + 1.0f;
  const float z = (static_cast<float>(m) + 0.5f) * 0x1p-31f * (p / q);
  return s < 0 ? -z : z;
}

// The padding of a gradient stays 0: only what multiplies has one.
static void noise(const Noise& a, const Step& step, const Team& team) {
  const float added = a.added, multiplied = a.multiplied;
  const Tensor from = a.x, to = a.y;
  for_draws(from, step, team, a.layer, [=](int64_t r, int64_t c, const uint32_t* draws) {
    const float* x = from.data + r * from.pitch + c;
    float* y = to.data + r * to.pitch + c;
#pragma omp simd
    for (int64_t i = 0; i < kLane; ++i) {
      y[i] = x[i] + normal_of(draws[i]) * (added + multiplied * x[i]);
    }
  });
}

}  // namespace evengrad::EVENGRAD_TARGET
