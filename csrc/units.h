// Sums of squares of the columns and rows of parameters, in double.
#pragma once
#include "parallel.h"

namespace evengrad::EVENGRAD_TARGET {

// Columns go through registers in tiles of this many; each column's sum is one thread's.
constexpr int64_t kTileColumns = 64;

// body(first column, how many, both of whole cache lines) for the caller's columns, the padding
// included.
template <class Body>
static inline void for_tiles(const Matrix& m, const Team& team, Body body) {
  const Range lines = part(padded(m.columns) / kPitchFloats, team);
  const int64_t end = lines.end * kPitchFloats;
  for (int64_t c = lines.begin * kPitchFloats; c < end; c += kTileColumns) {
    body(c, end - c < kTileColumns ? end - c : kTileColumns);
  }
}

static inline void tile_squares(const Matrix& m, int64_t begin, int64_t width, double* sums) {
  for (int64_t c = 0; c < width; ++c) sums[c] = 0.0;
  for (int64_t r = 0; r < m.rows; ++r) {
    const float* row = m.data + r * m.pitch + begin;
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) {
      const double x = row[c];
      sums[c] += x * x;
    }
  }
}

// Column c times factors[c], rounded once.
static inline void scale_tile(const Matrix& m, int64_t begin, int64_t width,
                              const double* factors) {
  for (int64_t r = 0; r < m.rows; ++r) {
    float* row = m.data + r * m.pitch + begin;
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) row[c] = static_cast<float>(row[c] * factors[c]);
  }
}

static inline double row_squares(const Matrix& m, int64_t r) {
  const float* row = m.data + r * m.pitch;
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < m.columns; ++c) {
    const double x = row[c];
    sum += x * x;
  }
  return sum;
}

static inline void scale_row(const Matrix& m, int64_t r, double factor) {
  float* row = m.data + r * m.pitch;
#pragma omp simd
  for (int64_t c = 0; c < m.columns; ++c) row[c] = static_cast<float>(row[c] * factor);
}

}  // namespace evengrad::EVENGRAD_TARGET
