// The vectors of an instruction set and how many of them its registers hold.
#pragma once
#include "parallel.h"

namespace evengrad::EVENGRAD_TARGET {

#if defined(__AVX512F__)
constexpr int kVectorFloats = 16, kTileRows = 8, kTileVectors = 3;
#elif defined(__AVX2__)
constexpr int kVectorFloats = 8, kTileRows = 4, kTileVectors = 3;
#elif defined(__aarch64__)
constexpr int kVectorFloats = 4, kTileRows = 8, kTileVectors = 3;
#else
constexpr int kVectorFloats = 4, kTileRows = 4, kTileVectors = 3;
#endif
typedef float Vector __attribute__((vector_size(kVectorFloats * sizeof(float)), may_alias));

static inline Vector load(const float* x) { return *reinterpret_cast<const Vector*>(x); }
static inline void store(float* x, Vector v) { *reinterpret_cast<Vector*>(x) = v; }

}  // namespace evengrad::EVENGRAD_TARGET
