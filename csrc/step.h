// The vocabulary of all kernels: matrices, batches, the step they belong to, the threads that run
// them.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace evengrad {

constexpr int64_t kPitchFloats = 16;  // rows start at multiples of this; one cache line
constexpr int64_t kAlignment = 64;    // bytes; every row of a Tensor or Matrix starts on it

static inline int64_t padded(int64_t columns) {
  return (columns + kPitchFloats - 1) / kPitchFloats * kPitchFloats;
}

// Pitch of a workspace that is read down its columns: at a round number of bytes they would share
// few sets of the cache.
static inline int64_t spread(int64_t columns) {
  const int64_t pitch = padded(columns);
  return pitch % 256 == 0 ? pitch + kPitchFloats : pitch;
}

// Rows of `columns` floats, `pitch` floats apart. The floats from `columns` up to
// padded(columns) are padding: exactly 0 in parameters, gradients and dy; finite but
// unspecified in activations.
struct Matrix {
  float* data;
  int64_t rows, columns, pitch;
};

// A batch: `per_sample` rows for each of the step's samples, laid out as in Matrix.
struct Tensor {
  float* data;
  int64_t per_sample, columns, pitch;
};

struct Barrier;

// One thread's view of the threads that run a program together.
struct Team {
  int rank, size;
  Barrier* barrier;
  void wait() const;  // returns once every member has called it
};

// What went wrong in a step; the step is then left out and the replay ends.
// kCall: a call between two regions that the caller of the replay knows more about.
enum class Failure : int32_t { kNone, kGradient, kLoss, kLabel, kIndex, kCall, kInput, kTarget };

// Written by one thread, read by all after the next barrier.
struct Control {
  Failure failure;
  int64_t where;  // kGradient: index of the variable; kLabel, kIndex: the value found;
                  // kInput, kTarget: a row of the source
};

// What the numbers of a source are; of more than float32 become the nearest float32.
enum class Dtype : int32_t {
  kFloat16,
  kFloat32,
  kFloat64,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUint8,
  kUint16,
  kUint32,
  kUint64
};

// The user's rows. The numbers of a row are adjacent and aligned as their type wants it.
struct Source {
  const void* data;
  Dtype dtype;
  int64_t pitch;    // bytes from a row to the next, of either sign
  bool trusted;     // float32 that were looked at before: copied as they are
  float low, high;  // else: what is legal, as float32
};

// The scalars and the data of one step: all that may change between replays.
struct Step {
  int64_t rows;       // samples in this batch, 0 < rows <= capacity
  int64_t iteration;  // number of this step, from 1
  double learning_rate;
  double clip;  // threshold of the clipping the program was recorded with
  uint64_t seed;
  Source x;
  Source target;          // of programs that gather one
  const int32_t* labels;  // likewise, one per source row
  const float* weight;    // one per source row, or null
  const int64_t* order;   // which source rows make this batch, or null for first, first + 1, ...
  int64_t first, source_rows;
  float* output;  // destination rows of scatter, contiguous
  Control* control;
  int64_t accumulation = 1;  // steps whose gradients make one update
};

// Number of the update that a step belongs to, from 1.
static inline int64_t update_number(const Step& s) {
  return (s.iteration - 1) / s.accumulation + 1;
}
// Whether a step is the last of those.
static inline bool is_update(const Step& s) { return s.iteration % s.accumulation == 0; }

static inline int64_t rows_of(const Tensor& t, const Step& s) { return t.per_sample * s.rows; }

// Each thread of the team calls the kernel with the same arguments and takes its share.
using Kernel = void (*)(const void* args, const Step& step, const Team& team);

template <class Args>
struct KernelOf {
  Kernel call;
};

template <class Args, void (*kernel)(const Args&, const Step&, const Team&)>
static void erased(const void* args, const Step& step, const Team& team) {
  kernel(*static_cast<const Args*>(args), step, team);
}
template <class Args, void (*kernel)(const Args&, const Step&, const Team&)>
static constexpr KernelOf<Args> erase() {
  return {erased<Args, kernel>};
}

}  // namespace evengrad
