// Sums over the rows of a batch, column by column: chunks of rows in float, in registers, and the
// chunks in double, in their order, so that bits do not depend on the number of threads.
#pragma once
#include "vectors.h"

namespace evengrad::EVENGRAD_TARGET {

// For each chunk of rows of the caller's share, body(partial row, first row, last row).
template <class Body>
static inline void for_chunks(int64_t rows, const Share& share, Body body) {
  const Chunks chunks = chunks_of(rows);
  for (int64_t i = share.rows.begin / chunks.size; i * chunks.size < share.rows.end; ++i) {
    const int64_t end = (i + 1) * chunks.size;
    body(i, i * chunks.size, end < rows ? end : rows);
  }
}

// Columns whose totals the caller combines: its own, or a part of all after a barrier.
static inline Range columns_to_combine(const Share& share, int64_t columns, const Team& team) {
  if (!share.by_rows) return share.columns;
  team.wait();
  const Range c = part(padded(columns) / kPitchFloats, team);
  return {c.begin * kPitchFloats, c.end * kPitchFloats};
}

// body(chunk, its number of rows as double) for all chunks, in order.
template <class Body>
static inline void for_all_chunks(int64_t rows, Body body) {
  const Chunks chunks = chunks_of(rows);
  for (int64_t i = 0; i < chunks.count; ++i) {
    const int64_t left = rows - i * chunks.size;
    body(i, static_cast<double>(left < chunks.size ? left : chunks.size));
  }
}

// Columns whose sums are combined together.
constexpr int64_t kColumnBlock = 64;
template <class Body>
static inline void for_column_blocks(Range columns, Body body) {
  for (int64_t begin = columns.begin; begin < columns.end; begin += kColumnBlock) {
    body(Range{begin, columns.end < begin + kColumnBlock ? columns.end : begin + kColumnBlock});
  }
}

// Sums over all chunks of partial[chunk][column] into sum[column - first column].
static inline void sum_chunks(const double* partial, int64_t pitch, int64_t rows, Range columns,
                              double (&sum)[kColumnBlock]) {
  for (double& each : sum) each = 0.0;
  for_all_chunks(rows, [&](int64_t i, double) {
#pragma omp simd
    for (int64_t c = columns.begin; c < columns.end; ++c) {
      sum[c - columns.begin] += partial[i * pitch + c];
    }
  });
}

// Two sums over rows for V vectors of columns, in registers: term(row, v, s, t) adds to both.
template <int V>
struct VectorSums {
  Vector s[V], t[V];
  template <class Term>
  void over(Range rows, Term term) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) s[v] = t[v] = Vector{};
    for (int64_t r = rows.begin; r < rows.end; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) term(r, v, s[v], t[v]);
    }
  }
};

// body(sums of some vectors, their first column) for blocks of 4 vectors, then for single ones.
template <class Body>
static inline void for_vectors(Range columns, Body body) {
  int64_t c = columns.begin;
  for (; c + 4 * kVectorFloats <= columns.end; c += 4 * kVectorFloats) body(VectorSums<4>{}, c);
  for (; c < columns.end; c += kVectorFloats) body(VectorSums<1>{}, c);
}

template <int V>
static inline void to_doubles(const Vector (&from)[V], double* to) {
  float lanes[V * kVectorFloats];
  __builtin_memcpy(lanes, from, sizeof lanes);
#pragma omp simd
  for (int i = 0; i < V * kVectorFloats; ++i) to[i] = lanes[i];
}

}  // namespace evengrad::EVENGRAD_TARGET
