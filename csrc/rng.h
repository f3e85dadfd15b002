// Philox4x32-10 (Salmon et al., 2011, doi 10.1145/2063384.2063405) and what draws from it. Each
// number depends on key and counter alone, so neither threads nor padding change a draw.
#pragma once
#include "parallel.h"

namespace evengrad::EVENGRAD_TARGET {

struct Philox {
  uint32_t v[4];
};
static inline Philox philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0,
                            uint32_t k1) {
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
  return {{c0, c1, c2, c3}};
}

// y = x / (1 - rate) with probability 1 - rate, else 0; y may be x. Forward and backward draw the
// same: key (seed, layer), counter (update, row, four columns).
static void dropout(const Dropout& a, const Step& step, const Team& team) {
  const Share share = share_of(a.x, step, team);
  const float scale = static_cast<float>(1.0 / (1.0 - a.rate));
  const uint32_t threshold = static_cast<uint32_t>(a.rate * 4294967296.0);  // below: dropped
  const uint32_t key = static_cast<uint32_t>(step.seed) ^ a.layer * 0x9E3779B9u;
  const uint32_t high = static_cast<uint32_t>(step.seed >> 32);
  const uint32_t update = static_cast<uint32_t>(step.iteration);
  for (int64_t r = share.rows.begin; r < share.rows.end; ++r) {
    const float* x = a.x.data + r * a.x.pitch;
    float* y = a.y.data + r * a.y.pitch;
    const uint32_t row = static_cast<uint32_t>(r);
#pragma omp simd
    for (int64_t g = share.columns.begin / 4; g < share.columns.end / 4; ++g) {
      const Philox draw = philox(static_cast<uint32_t>(g), row, update, 0u, key, high);
      for (int i = 0; i < 4; ++i) {
        y[4 * g + i] = draw.v[i] < threshold ? 0.0f : x[4 * g + i] * scale;
      }
    }
  }
}

}  // namespace evengrad::EVENGRAD_TARGET
