// What each kernel that goes over variables and their gradients is given: norms, clipping,
// regularizers, updates, averages, constraints.
#pragma once
#include "step.h"

namespace evengrad {

// A piece of a variable small enough to balance threads, and the same for any number of them.
struct Chunk {
  float *value, *gradient, *slot[3];
  int64_t length;
};
// Variable v has the chunks starts[v] to starts[v + 1].
struct ChunkedVariables {
  const Chunk* chunks;
  const int64_t* starts;
  int64_t count;  // of variables
};
// kAdaptive is kGlobalNorm with a threshold that stands behind the norms of the variables.
enum class Clip : int32_t { kNone, kValue, kNorm, kGlobalNorm, kAdaptive };
// Sums over updates: norms of all gradients before clipping, updates whose gradients clipping
// changed, updates.
constexpr int64_t kHealthSums = 3;
struct GradientNorms {
  ChunkedVariables variables;
  double* partial;           // workspace, one a chunk; for Clip::kValue two
  double* norms;             // one a variable: sum of squares
  Clip clip = Clip::kNone;   // what follows; kAdaptive leaves checks and sums to the kernel after
  double* health = nullptr;  // [kHealthSums], or null
};
// The thresholds of Clip::kAdaptive: norms[count] from the norms of `count` variables.
struct AutoClip {  // percentile of the last `length` norms, this one included
  double* norms;
  int64_t count;
  double percentile;
  double *history, *ordered;  // [length] norms: a ring as they came; the same in their order
  int64_t length;
  int64_t* seen;   // norms so far
  double* health;  // or null
};
struct ZClip {  // mean + (z deviation)^2 / (norm - mean) where the norm is beyond mean + z
                // deviation
  double* norms;
  int64_t count;
  double alpha, z;
  int64_t warm_up;    // steps without clipping
  double* statistic;  // mean, variance
  int64_t* seen;
  double* health;
};
// A variable whose columns are clipped each by itself, or, with `whole`, its one row as one.
struct UnitVariable {
  Matrix w, g;
  bool whole;
  double lambda;              // infinity: not clipped
  double *squares, *factors;  // workspace [padded(columns)]
};
struct UnitClip {  // g times min(1, lambda max(norm of w, epsilon) / norm of g), unit by unit
  const UnitVariable* variables;
  int64_t count;
  double epsilon;
  double* norms;   // one a variable: sum of squares before
  double* health;  // or null
};
struct Regularize {  // gradient += l1 sign(w) + 2 l2 w; result += rows (l1 sum |w| + l2 sum w^2)
  ChunkedVariables variables;
  bool gradients;         // else the penalty only
  const double *l1, *l2;  // one a variable
  int64_t per_sample;     // rows of a sample
  double* partial;        // workspace, one a chunk
  double* result;
};
enum class Constraint : int32_t { kNonNegative, kColumns, kRows, kWhole };
// kNonNegative: max(w, 0). Else w desired / (1e-7 + norm) with desired = rate clamp(norm, minimum,
// maximum) + (1 - rate) norm for each column, each row, or all.
struct Constrain {
  Matrix w;
  Constraint kind;
  double minimum, maximum, rate;
  double* partial;  // workspace [rows]
};
// Of a chunk: sums of squares of the values after an update, and of what it added to them.
struct Moved {
  float values, moves;
};
struct Update {
  ChunkedVariables variables;
  const double* norms;  // from GradientNorms; null when nothing clips by norm
  Clip clip;
  // sgd: momentum; adam, nadam, adamax, lion: beta_1, beta_2; rmsprop: rho, momentum; adadelta: rho
  double a, b, epsilon;
  bool variant;                    // sgd: nesterov; adam: amsgrad; rmsprop: centered
  const double* decays = nullptr;  // weight decay, one a variable, or null
  Moved* moved = nullptr;          // one a chunk
};
struct Accumulation {  // slot[0]: sum so far of gradient / step.accumulation
  ChunkedVariables variables;
};
struct Average {  // slot[0]: moving average of the value
  ChunkedVariables variables;
  double momentum;    // weight of the average so far
  int64_t overwrite;  // at each so many updates the value becomes the average; 0: never
};

}  // namespace evengrad
