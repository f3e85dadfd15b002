// How samples come in and go out: gather a batch, scatter its results, change the length of rows.
#pragma once
#include "parallel.h"
#include "sources.h"

namespace evengrad::EVENGRAD_TARGET {

// A row of the source into the rows of a sample, sample by sample `columns` numbers each. Returns
// whether its numbers are legal.
static bool convert_in(const Source& source, const char* from, const Tensor& to, int64_t sample) {
  const int64_t bytes = to.columns * size_of(source.dtype);
  bool legal = true;
  for (int64_t k = 0; k < to.per_sample; ++k) {
    float* row = to.data + (sample * to.per_sample + k) * to.pitch;
    legal &= convert(from + k * bytes, source, to.columns, row);
  }
  return legal;
}
static inline bool copy_in(const Source& source, int64_t at, const Tensor& to, int64_t sample) {
  const char* from = static_cast<const char*>(source.data) + at * source.pitch;
  if (!source.trusted) return convert_in(source, from, to, sample);
  const auto bytes = static_cast<size_t>(to.columns) * sizeof(float);
  for (int64_t k = 0; k < to.per_sample; ++k) {
    float* row = to.data + (sample * to.per_sample + k) * to.pitch;
    __builtin_memcpy(row, from + static_cast<size_t>(k) * bytes, bytes);
  }
  return true;
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
  for (int64_t i = samples.begin; i < samples.end; ++i) {
    const int64_t at = step.order ? step.order[step.first + i] : step.first + i;
    if (at < 0 || at >= step.source_rows) return fail(step.control, Failure::kIndex, at);
    if (!copy_in(step.x, at, a.x, i)) return fail(step.control, Failure::kInput, at);
    clear_padding(a.x, i);
    if (a.labels) a.labels[i] = step.labels[at];
    if (a.target.data && !copy_in(step.target, at, a.target, i)) {
      return fail(step.control, Failure::kTarget, at);
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
