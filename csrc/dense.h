// Dense products, forward beside backward: y = x w + bias; dw = x' dy; dx = dy w'.
// All three are C = A B with B read a row of vectors at a time and A broadcast one number at a
// time: from rows (x, w) or from columns (x'). Rows are padded, so columns have no tails. Each
// element of C is one thread's sum in the order of the depth: its bits depend on nothing else.
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

// c[i][v] = init[v] + sum over depth of a(i, p) b[p][v], for M rows and V vectors, in registers.
// a(i, p) is a[i * lda + p], or a[p * lda + i] with kColumns. init may be null: zeros.
template <bool kColumns, int M, int V>
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
    for (int v = 0; v < V; ++v) row[v] = *reinterpret_cast<const Vector*>(b + v * kVectorFloats);
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

template <bool kColumns, int M>
static constexpr Tile tile_of(int vectors) {
  return vectors == 1   ? tile<kColumns, M, 1>
         : vectors == 2 ? tile<kColumns, M, 2>
                        : tile<kColumns, M, 3>;
}
template <bool kColumns>
static inline Tile tile_of(int64_t rows, int64_t vectors) {
  const int v = static_cast<int>(vectors);
  switch (rows) {
    case 1:
      return tile_of<kColumns, 1>(v);
    case 2:
      return tile_of<kColumns, 2>(v);
    case 3:
      return tile_of<kColumns, 3>(v);
    case 4:
      return tile_of<kColumns, 4>(v);
    case 5:
      return tile_of < kColumns, kTileRows<5 ? 1 : 5>(v);
    case 6:
      return tile_of < kColumns, kTileRows<6 ? 1 : 6>(v);
    case 7:
      return tile_of < kColumns, kTileRows<7 ? 1 : 7>(v);
    default:
      return tile_of < kColumns, kTileRows<8 ? 1 : 8>(v);
  }
}

// Splits n into equal blocks of at most `most`: 32 rows as 4 x 8, 19 vectors as 5 x 3 + 2 x 2.
struct Blocks {
  int64_t n, count;
  Blocks(int64_t n_, int64_t most) : n(n_), count((n_ + most - 1) / most) {}
  int64_t begin(int64_t i) const { return n * i / count; }
  int64_t size(int64_t i) const { return begin(i + 1) - begin(i); }
};

// C[rows][columns] = init + A B; columns in floats, whole vectors.
template <bool kColumns>
static void product(const float* a, int64_t lda, const float* b, int64_t ldb, int64_t depth,
                    const float* init, float* c, int64_t ldc, Range rows, Range columns) {
  const Blocks across((columns.end - columns.begin) / kVectorFloats, kTileVectors);
  const Blocks down(rows.end - rows.begin, kTileRows);
  for (int64_t j = 0; j < across.count; ++j) {
    const int64_t n = columns.begin + across.begin(j) * kVectorFloats;
    for (int64_t i = 0; i < down.count; ++i) {
      const int64_t m = rows.begin + down.begin(i);
      const Tile run = tile_of<kColumns>(down.size(i), across.size(j));
      run(a + (kColumns ? m : m * lda), lda, b + n, ldb, depth, init ? init + n : nullptr,
          c + m * ldc + n, ldc);
    }
  }
}

static void dense_forward(const DenseForward& a, const Step& step, const Team& team) {
  const Share share = share_of(a.y, step, team);
  product<false>(a.x.data, a.x.pitch, a.w.data, a.w.pitch, a.w.rows, a.bias, a.y.data, a.y.pitch,
                 share.rows, share.columns);
}

// Alternates the numbers of the first (second) halves of a and b.
typedef int32_t VectorIndex __attribute__((vector_size(kVectorFloats * sizeof(int32_t))));
template <int kHalf>
static inline Vector interleave(Vector a, Vector b) {
  constexpr int kFirst = kHalf * kVectorFloats / 2;
#if defined(__clang__)
  Vector mixed = a;
  for (int i = 0; i < kVectorFloats / 2; ++i) {
    mixed[2 * i] = a[kFirst + i];
    mixed[2 * i + 1] = b[kFirst + i];
  }
  return mixed;
#else
  VectorIndex from = {};
  for (int i = 0; i < kVectorFloats / 2; ++i) {
    from[2 * i] = kFirst + i;
    from[2 * i + 1] = kFirst + i + kVectorFloats;
  }
  return __builtin_shuffle(a, b, from);
#endif
}

// A square of vectors, rows for columns: perfect shuffles, as many as the width has bits.
static inline void transpose(Vector (&m)[kVectorFloats]) {
  constexpr int kHalf = kVectorFloats / 2;
#pragma GCC unroll 4
  for (int bit = 1; bit < kVectorFloats; bit *= 2) {
    Vector next[kVectorFloats];
#pragma GCC unroll 8
    for (int i = 0; i < kHalf; ++i) {
      next[2 * i] = interleave<0>(m[i], m[i + kHalf]);
      next[2 * i + 1] = interleave<1>(m[i], m[i + kHalf]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kVectorFloats; ++i) m[i] = next[i];
  }
}

// to[c][r] = from[r][c] for whole vectors of columns; rows from `rows` on count as 0 and are not
// read, and of `to` only the first `columns` rows are written.
static void transpose_into(const float* from, int64_t from_pitch, int64_t rows, float* to,
                           int64_t to_pitch, int64_t columns) {
  constexpr int64_t kV = kVectorFloats;
  for (int64_t r = 0; r < rows; r += kV) {
    for (int64_t c = 0; c < columns; c += kV) {
      Vector square[kV];
#pragma GCC unroll 16
      for (int64_t i = 0; i < kV; ++i) {
        const float* row = from + (r + i) * from_pitch + c;
        square[i] = r + i < rows ? *reinterpret_cast<const Vector*>(row) : Vector{};
      }
      transpose(square);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kV; ++i) {
        if (c + i < columns) *reinterpret_cast<Vector*>(to + (c + i) * to_pitch + r) = square[i];
      }
    }
  }
}

// dx = dy w' as rows of w times columns of dy': blocks of 16 rows of w by 48 of the batch, turned
// back into rows of dx, a cache line of each at a time. The columns of dy' stay in cache.
static void dense_dx(const DenseBackward& a, int64_t rows, const Team& team) {
  constexpr int64_t kHeight = kPitchFloats, kWidth = 48;
  const int64_t pitch = padded(rows);
  const Range mine = part(padded(a.w.rows) / kHeight, team);
  alignas(kAlignment) float block[kHeight * kWidth];
  for (int64_t r = 0; r < rows; r += kWidth) {
    const int64_t width = pitch - r < kWidth ? pitch - r : kWidth;
    const int64_t count = rows - r < kWidth ? rows - r : kWidth;
    for (int64_t k = mine.begin * kHeight; k < mine.end * kHeight; k += kHeight) {
      const int64_t height = a.w.rows - k < kHeight ? a.w.rows - k : kHeight;
      product<false>(a.w.data + k * a.w.pitch, a.w.pitch, a.dyt + r, pitch, a.w.columns, nullptr,
                     block, kWidth, {0, height}, {0, width});
      // Rows of w beyond the last are the padding of dx: 0.
      for (int64_t i = height * kWidth; i < kHeight * kWidth; ++i) block[i] = 0.0f;
      for (int64_t c = 0; c < kHeight; c += kVectorFloats) {
        transpose_into(block + c * kWidth, kWidth, kVectorFloats,
                       a.dx.data + r * a.dx.pitch + k + c, a.dx.pitch, count);
      }
    }
  }
}

// dy' with its rows padded to whole vectors; each thread some rows of dy'.
static void transpose_dy(const DenseBackward& a, int64_t rows, const Team& team) {
  const Range lines = part(padded(a.dy.columns) / kPitchFloats, team);
  const int64_t begin = lines.begin * kPitchFloats, pitch = padded(rows);
  transpose_into(a.dy.data + begin, a.dy.pitch, rows, a.dyt + begin * pitch, pitch,
                 lines.end * kPitchFloats - begin);
}

static void column_sums(const Tensor& dy, int64_t rows, float* sums, Range columns) {
  for (int64_t c = columns.begin; c < columns.end; ++c) sums[c] = 0.0f;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = dy.data + r * dy.pitch;
#pragma omp simd
    for (int64_t c = columns.begin; c < columns.end; ++c) sums[c] += row[c];
  }
}

// Column sums of dy into db and, for a folded normalization, its workspace.
static void dense_sums(const DenseBackward& a, int64_t rows, const Team& team) {
  float* sums = a.folded.xhat.data ? a.folded.sums : a.db;
  if (!sums) return;
  const Range lines = part(padded(a.dy.columns) / kPitchFloats, team);
  const Range columns{lines.begin * kPitchFloats, lines.end * kPitchFloats};
  column_sums(a.dy, rows, sums, columns);
  if (!a.db || sums == a.db) return;
  for (int64_t c = columns.begin; c < columns.end; ++c) a.db[c] = sums[c];
}

static void dense_dw(const DenseBackward& a, int64_t rows, const Team& team) {
  const int64_t width = padded(a.dy.columns);
  Range down = part(a.dw.rows, team), across = {0, width};
  if (width > a.dw.rows) {  // few inputs: share the columns
    const Range c = part(width / kPitchFloats, team);
    down = {0, a.dw.rows};
    across = {c.begin * kPitchFloats, c.end * kPitchFloats};
  }
  product<true>(a.x.data, a.x.pitch, a.dy.data, a.dy.pitch, rows, nullptr, a.dw.data, a.dw.pitch,
                down, across);
}

// dw with a folded normalization, a few rows at a time so that G is still in cache when it is
// turned into dw, dgamma and dbeta.
static void folded_dw(const DenseBackward& a, int64_t rows, const Team& team) {
  const FoldedNormalization f = a.folded;  // a copy: stores to dw cannot change it
  const int64_t width = padded(a.dy.columns);
  const Range mine = part(a.dw.rows, team);
  constexpr int64_t kRows = 4 * kTileRows;
  for (int64_t begin = mine.begin; begin < mine.end; begin += kRows) {
    const int64_t end = begin + kRows < mine.end ? begin + kRows : mine.end;
    product<true>(f.xhat.data, f.xhat.pitch, a.dy.data, a.dy.pitch, rows, nullptr, a.dw.data,
                  a.dw.pitch, {begin, end}, {0, width});
    for (int64_t k = begin; k < end; ++k) {
      float* dw = a.dw.data + k * a.dw.pitch;
      const float* w = a.w.data + k * a.w.pitch;
      const float gamma = f.gamma ? f.gamma[k] : 1.0f, beta = f.beta ? f.beta[k] : 0.0f;
      const float* sums = f.sums;
      float dgamma = 0.0f, dbeta = 0.0f;
#pragma omp simd reduction(+ : dgamma, dbeta)
      for (int64_t c = 0; c < width; ++c) {
        dgamma += w[c] * dw[c];
        dbeta += w[c] * sums[c];
        dw[c] = gamma * dw[c] + beta * sums[c];
      }
      if (f.dgamma) f.dgamma[k] = dgamma;
      if (f.dbeta) f.dbeta[k] = dbeta;
    }
  }
  if (team.rank != 0) return;
  for (int64_t k = a.dw.rows; k < padded(a.dw.rows); ++k) {
    if (f.dgamma) f.dgamma[k] = 0.0f;
    if (f.dbeta) f.dbeta[k] = 0.0f;
  }
}

static void dense_backward(const DenseBackward& a, const Step& step, const Team& team) {
  const int64_t rows = rows_of(a.dy, step);
  dense_sums(a, rows, team);
  if (a.folded.xhat.data) {
    team.wait();
    return folded_dw(a, rows, team);
  }
  if (a.dx.data) transpose_dy(a, rows, team);
  if (a.dw.data) dense_dw(a, rows, team);
  if (a.dx.data) {
    team.wait();
    dense_dx(a, rows, team);
  }
}

}  // namespace evengrad::EVENGRAD_TARGET
