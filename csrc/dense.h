// The dense layer, forward beside backward: y = x w + bias; dw = x' dy; dx = dy w'; and the
// backward of a normalization folded into it. All are products of product.h.
#pragma once
#include "transpose.h"

namespace evengrad::EVENGRAD_TARGET {

static void dense_forward(const DenseForward& a, const Step& step, const Team& team) {
  const Share share = share_of(a.y, step, team);
  product<false>(a.x.data, a.x.pitch, a.w.data, a.w.pitch, a.w.rows, cold(a.w.rows, a.w.pitch),
                 a.bias, a.y.data, a.y.pitch, share.rows, share.columns);
}

// dx = dy w' as rows of w times columns of dy': blocks of 16 rows of w by 48 of the batch, turned
// back into rows of dx, a cache line of each at a time. The columns of dy' stay in cache.
static void dense_dx(const DenseBackward& a, int64_t rows, const Share& share) {
  constexpr int64_t kHeight = kPitchFloats, kWidth = 48;
  const int64_t pitch = spread(rows);
  alignas(kAlignment) float block[kHeight * kWidth];
  const Blocks down((share.rows.end - share.rows.begin + kPitchFloats - 1) / kPitchFloats,
                    kWidth / kPitchFloats);
  for (int64_t b = 0; b < down.count; ++b) {
    const int64_t r = share.rows.begin + down.begin(b) * kPitchFloats;
    const int64_t width = down.size(b) * kPitchFloats;
    const int64_t count = share.rows.end - r < width ? share.rows.end - r : width;
    for (int64_t k = share.columns.begin; k < share.columns.end; k += kHeight) {
      const int64_t height = a.w.rows - k < kHeight ? a.w.rows - k : kHeight;
      const bool cold_dyt = k == share.columns.begin && cold(a.w.columns, pitch);
      product<false>(a.w.data + k * a.w.pitch, a.w.pitch, a.dyt + r, pitch, a.w.columns, cold_dyt,
                     nullptr, block, kWidth, {0, height}, {0, width});
      // Rows of w beyond the last are the padding of dx: 0.
      for (int64_t i = height * kWidth; i < kHeight * kWidth; ++i) block[i] = 0.0f;
      for (int64_t c = 0; c < kHeight; c += kVectorFloats) {
        transpose_into(block + c * kWidth, kWidth, kVectorFloats,
                       a.dx.data + r * a.dx.pitch + k + c, a.dx.pitch, count);
      }
    }
  }
}

// A few rows of dx as dot products of rows of w and dy, both read in order.
constexpr int64_t kFewRows = 4;
static void dense_dx_of_few(const DenseBackward& a, int64_t rows, const Team& team) {
  const int64_t width = padded(a.dy.columns);
  const Range lines = part(padded(a.w.rows) / kPitchFloats, team);
  for (int64_t k = lines.begin * kPitchFloats; k < lines.end * kPitchFloats; ++k) {
    const float* w = a.w.data + k * a.w.pitch;
    for (int64_t r = 0; r < rows; ++r) {
      const float* dy = a.dy.data + r * a.dy.pitch;
      float sum = 0.0f;
      if (k < a.w.rows) {
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < width; ++c) sum += w[c] * dy[c];
      }
      a.dx.data[r * a.dx.pitch + k] = sum;
    }
  }
}

// The caller's share of dy', whose rows are padded to whole vectors.
static void transpose_dy(const DenseBackward& a, int64_t rows, const Share& share) {
  const int64_t begin = share.columns.begin, first = share.rows.begin, pitch = spread(rows);
  transpose_into(a.dy.data + first * a.dy.pitch + begin, a.dy.pitch, share.rows.end - first,
                 a.dyt + begin * pitch + first, pitch, share.columns.end - begin);
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
  product<true>(a.x.data, a.x.pitch, a.dy.data, a.dy.pitch, rows, cold(rows, a.dy.pitch), nullptr,
                a.dw.data, a.dw.pitch, down, across);
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
    product<true>(f.xhat.data, f.xhat.pitch, a.dy.data, a.dy.pitch, rows, false, nullptr, a.dw.data,
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
  const bool few = rows <= kFewRows;
  const Share from = share_of(rows, a.dy.columns, team);
  if (a.dx.data && !few) transpose_dy(a, rows, from);
  if (a.dw.data) dense_dw(a, rows, team);
  if (!a.dx.data) return;
  if (few) return dense_dx_of_few(a, rows, team);
  if (!from.by_rows) team.wait();  // shares of columns need all of dy'
  dense_dx(a, rows, share_of(rows, a.w.rows, team));
}

}  // namespace evengrad::EVENGRAD_TARGET
