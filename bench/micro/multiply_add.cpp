// The peak of one instruction set: compiled once for each, as the kernels are.
#include "../../csrc/product.h"

namespace evengrad::EVENGRAD_TARGET {

// More sums than two units with a latency of 4 keep busy, and with both factors few enough for 16
// registers.
constexpr int kSums = 12;

// Multiply-adds that touch no memory; returns how many floating-point operations they were.
double multiply_add(int64_t rounds, float factor, float* result) {
  Vector sum[kSums], scale = {}, shift = {};
  scale += factor, shift += 1.0f - factor;
  for (int i = 0; i < kSums; ++i) sum[i] = shift * static_cast<float>(i);
  for (int64_t n = 0; n < rounds; ++n) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sum[i] = sum[i] * scale + shift;
  }
  for (int i = 1; i < kSums; ++i) sum[0] += sum[i];
  *result = sum[0][0];
  return 2.0 * kSums * kVectorFloats * static_cast<double>(rounds);
}

}  // namespace evengrad::EVENGRAD_TARGET
