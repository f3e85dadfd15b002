// How samples come in and go out: gather a batch, scatter its results, change the length of rows.
#pragma once
#include "parallel.h"

namespace evengrad::EVENGRAD_TARGET {

// Sample by sample, `columns` numbers a row, from a row-major source into padded rows.
static inline void copy_in(const float* from, const Tensor& to, int64_t sample) {
  for (int64_t k = 0; k < to.per_sample; ++k) {
    float* row = to.data + (sample * to.per_sample + k) * to.pitch;
    __builtin_memcpy(row, from + k * to.columns, static_cast<size_t>(to.columns) * sizeof(float));
  }
}

// What runs in place over the batch runs over its padding: exp of exp of exp, from step to step.
static inline void clear_padding(const Tensor& to, int64_t sample) {
  for (int64_t k = 0; k < to.per_sample; ++k) {
    float* row = to.data + (sample * to.per_sample + k) * to.pitch;
    for (int64_t c = to.columns; c < padded(to.columns); ++c) row[c] = 0.0f;
  }
}

// Every index is checked where it is used: another thread may have changed the user's memory.
static void gather(const Gather& a, const Step& step, const Team& team) {
  const Range samples = part(step.rows, team);
  const int64_t width = a.x.per_sample * a.x.columns;
  for (int64_t i = samples.begin; i < samples.end; ++i) {
    const int64_t at = step.order ? step.order[step.first + i] : step.first + i;
    if (at < 0 || at >= step.source_rows) {
      fail(step.control, Failure::kIndex, at);
      return;
    }
    copy_in(step.x + at * width, a.x, i);
    clear_padding(a.x, i);
    if (a.labels) a.labels[i] = static_cast<const int32_t*>(step.y)[at];
    if (a.target.data) {
      const int64_t length = a.target.per_sample * a.target.columns;
      copy_in(static_cast<const float*>(step.y) + at * length, a.target, i);
    }
    if (a.weight) a.weight[i] = step.weight ? step.weight[at] : 1.0f;
  }
}

static void scatter(const Scatter& a, const Step& step, const Team& team) {
  const Range rows = part(rows_of(a.y, step), team);
  float* to = step.output + step.first * a.y.per_sample * a.y.columns;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    __builtin_memcpy(to + r * a.y.columns, a.y.data + r * a.y.pitch,
                     static_cast<size_t>(a.y.columns) * sizeof(float));
  }
}

static void copy(const Copy& a, const Step&, const Team& team) {
  if (team.rank != 0) return;
  for (int64_t i = 0; i < a.count; ++i) a.to[i] = a.from[i];
}

// Runs of numbers that lie in one row of x and in one row of y.
static void reshape(const Reshape& a, const Step& step, const Team& team) {
  const Range samples = part(step.rows, team);
  const int64_t width = a.x.per_sample * a.x.columns;
  for (int64_t i = samples.begin; i < samples.end; ++i) {
    const float* from = a.x.data + i * a.x.per_sample * a.x.pitch;
    float* to = a.y.data + i * a.y.per_sample * a.y.pitch;
    int64_t c = 0, d = 0;  // where the next number is in its row of x, and of y
    for (int64_t done = 0; done < width;) {
      const int64_t left = a.x.columns - c, room = a.y.columns - d;
      const int64_t run = left < room ? left : room;
      __builtin_memcpy(to + d, from + c, static_cast<size_t>(run) * sizeof(float));
      c += run, d += run, done += run;
      if (c == a.x.columns) from += a.x.pitch, c = 0;
      if (d == a.y.columns) to += a.y.pitch, d = 0;
    }
  }
}

}  // namespace evengrad::EVENGRAD_TARGET
