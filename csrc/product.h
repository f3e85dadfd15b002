// C = init + A B in register tiles: B is read a row of vectors at a time, A broadcast one number at
// a time, from its rows or its columns. Rows are padded, so columns have no tails. Each element of
// C is one sum in the order of the depth: its bits depend on nothing else.
#pragma once
#include "vectors.h"

namespace evengrad::EVENGRAD_TARGET {

// c[i][v] = init[v] + sum over depth of a(i, p) b[p][v], for M rows and V vectors, in registers.
// a(i, p) is a[i * lda + p], or a[p * lda + i] with kColumns. init may be null: zeros.
// With kFetch rows of b are asked for ahead of time: they lie too far apart for the hardware to see
// them coming, but where they are in cache already the loads only cost.
constexpr int64_t kFetchRows = 32;
template <bool kColumns, bool kFetch, int M, int V>
static void tile(const float* a, int64_t lda, const float* b, int64_t ldb, int64_t depth,
                 const float* init, float* c, int64_t ldc) {
  Vector sum[M][V];
  for (int v = 0; v < V; ++v) {
    Vector start = {};
    if (init) start = *reinterpret_cast<const Vector*>(init + v * kVectorFloats);
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) sum[i][v] = start;
  }
  for (int64_t p = 0; p < depth; ++p) {
    Vector row[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) {
      row[v] = *reinterpret_cast<const Vector*>(b + v * kVectorFloats);
      if (kFetch) __builtin_prefetch(b + kFetchRows * ldb + v * kVectorFloats);
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) {
      const float factor = kColumns ? a[i] : a[i * lda];
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) sum[i][v] += factor * row[v];
    }
    a += kColumns ? lda : 1;
    b += ldb;
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) {
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) {
      *reinterpret_cast<Vector*>(c + i * ldc + v * kVectorFloats) = sum[i][v];
    }
  }
}

using Tile = void (*)(const float*, int64_t, const float*, int64_t, int64_t, const float*, float*,
                      int64_t);

// Rows beyond kTileRows never come: one row stands in their place.
constexpr int held(int rows) { return rows <= kTileRows ? rows : 1; }

template <bool kColumns, bool kFetch, int M>
static constexpr Tile tile_of_width(int64_t vectors) {
  constexpr Tile kTiles[kTileVectors] = {tile<kColumns, kFetch, held(M), 1>,
                                         tile<kColumns, kFetch, held(M), 2>,
                                         tile<kColumns, kFetch, held(M), 3>};
  return kTiles[vectors - 1];
}

template <bool kColumns, bool kFetch>
static inline Tile tile_of(int64_t rows, int64_t vectors) {
  static constexpr Tile (*kTiles[])(int64_t) = {
      tile_of_width<kColumns, kFetch, 1>, tile_of_width<kColumns, kFetch, 2>,
      tile_of_width<kColumns, kFetch, 3>, tile_of_width<kColumns, kFetch, 4>,
      tile_of_width<kColumns, kFetch, 5>, tile_of_width<kColumns, kFetch, 6>,
      tile_of_width<kColumns, kFetch, 7>, tile_of_width<kColumns, kFetch, 8>};
  return kTiles[rows - 1](vectors);
}

// Splits n into equal blocks of at most `most`: 32 rows as 4 x 8, 19 vectors as 5 x 3 + 2 x 2.
struct Blocks {
  int64_t n, count;
  Blocks(int64_t n_, int64_t most) : n(n_), count((n_ + most - 1) / most) {}
  int64_t begin(int64_t i) const { return n * i / count; }
  int64_t size(int64_t i) const { return begin(i + 1) - begin(i); }
};

// Whether a matrix is too large to be found in cache, half of a usual second-level one.
static inline bool cold(int64_t rows, int64_t pitch) { return rows * pitch > 128 * 1024; }

// C[rows][columns] = init + A B; columns in floats, whole vectors. A cold B is fetched ahead.
template <bool kColumns>
static void product(const float* a, int64_t lda, const float* b, int64_t ldb, int64_t depth,
                    bool cold_b, const float* init, float* c, int64_t ldc, Range rows,
                    Range columns) {
  const Blocks across((columns.end - columns.begin) / kVectorFloats, kTileVectors);
  const Blocks down(rows.end - rows.begin, kTileRows);
  for (int64_t j = 0; j < across.count; ++j) {
    const int64_t n = columns.begin + across.begin(j) * kVectorFloats;
    for (int64_t i = 0; i < down.count; ++i) {
      const int64_t m = rows.begin + down.begin(i);
      const Tile run = cold_b && i == 0 ? tile_of<kColumns, true>(down.size(i), across.size(j))
                                        : tile_of<kColumns, false>(down.size(i), across.size(j));
      run(a + (kColumns ? m : m * lda), lda, b + n, ldb, depth, init ? init + n : nullptr,
          c + m * ldc + n, ldc);
    }
  }
}

}  // namespace evengrad::EVENGRAD_TARGET
