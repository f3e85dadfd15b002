// How a team of threads shares the rows and columns of a batch, and the one place that starts it.
#pragma once
#include "kernels.h"

namespace evengrad {

// Rows in equal chunks of at most kChunkRows. A reduction over rows sums each chunk and then the
// chunks in order, so its bits depend on the number of rows alone, never on the threads.
constexpr int64_t kChunkRows = 64;
constexpr int64_t kTallRows = 128;  // from here on threads take rows, below columns

struct Chunks {
  int64_t count, size;
};
static inline Chunks chunks_of(int64_t rows) {
  int64_t count = (rows + kChunkRows - 1) / kChunkRows;
  if (count == 0) return {0, 1};
  int64_t size = (rows + count - 1) / count;
  size = (size + 15) / 16 * 16;  // whole register tiles, and vectors when transposed
  return {(rows + size - 1) / size, size};
}

struct Range {
  int64_t begin, end;
};
// Part `rank` of `size` of n items, in order; sizes differ by one at most.
static inline Range part(int64_t n, const Team& team) {
  return {n * team.rank / team.size, n * (team.rank + 1) / team.size};
}

// The block of a batch that one thread owns. Two kernels that use it on tensors of the same shape
// give a thread the same block, so that no barrier is needed between them.
struct Share {
  Range rows, columns;
  bool by_rows;
};
static inline Share share_of(int64_t rows, int64_t columns, const Team& team) {
  Chunks chunks = chunks_of(rows);
  int64_t width = padded(columns);
  if (team.size == 1) return {{0, rows}, {0, width}, false};
  if (rows >= kTallRows && chunks.count >= team.size) {
    Range r = part(chunks.count, team);
    int64_t end = r.end * chunks.size;
    return {{r.begin * chunks.size, end < rows ? end : rows}, {0, width}, true};
  }
  Range c = part(width / kPitchFloats, team);
  return {{0, rows}, {c.begin * kPitchFloats, c.end * kPitchFloats}, false};
}
static inline Share share_of(const Tensor& t, const Step& s, const Team& team) {
  return share_of(rows_of(t, s), t.columns, team);
}

// The first failure of a step is kept; any thread may report one.
static inline void fail(Control* control, Failure failure, int64_t where) {
  Failure none = Failure::kNone;
  if (__atomic_compare_exchange_n(&control->failure, &none, failure, false, __ATOMIC_RELAXED,
                                  __ATOMIC_RELAXED)) {
    control->where = where;
  }
}

// Runs body(context, team) on `threads` threads, this one included, and returns when all are done.
// With less to be had (nested call, busy team, forked child, limits of the runtime) on fewer.
void run_team(int threads, void (*body)(void* context, const Team& team), void* context);

// Whether the team has lost much of its time at barriers, as it does when other processes want the
// cores. The first thread asks between steps.
bool team_stalls(const Team& team);

int get_num_threads();
void set_num_threads(int threads);  // at least 1
const char* thread_backend();       // "openmp", "pool" or "serial"
void use_pool();                    // from now on; for processes where another libgomp came first

}  // namespace evengrad
