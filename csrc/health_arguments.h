// What the kernel that watches a training is given: what updates left behind, outputs to look at,
// where its figures go.
#pragma once
#include "arguments.h"
#include "update_arguments.h"

namespace evengrad {

// Rows of sums over entries. Where all are in use neighbours are added up, and each row takes twice
// as many entries from then on.
struct Series {
  double* rows;  // [capacity][width]
  int64_t capacity, width;
  int64_t* state;  // entries so far, entries of a row
};

// An output that is looked at, row by row.
struct Looked {
  Tensor y;
  KernelOf<ActivationBackward> slope;  // call null: there is none
  ActivationBackward of;               // dy: ones; dx: room for a row
  float flat;                          // slopes of less are those of a saturated unit
  float* alive;                        // [columns] rows whose slope was not, added up
};

struct Health {
  Series steps;                   // loss, clipped, then by variable: gradient, value, update
  const double *totals, *before;  // of the loss times rows, and of rows: after and before the step
  const double* sums;             // [kHealthSums], of GradientNorms
  double* known;                  // [2] of those: updates that clipping changed, updates, last time
  const double* norms;            // one a variable: sum of squares of the gradient
  const Moved* moved;             // one a chunk, or null
  const int64_t* starts;          // the chunks of each variable
  int64_t variables;
  Series looks;  // number of the step, then by output: mean, deviation, zeros, saturated
  const Looked* outputs;
  int64_t output_count;
  int64_t every;          // so many updates a look
  const int64_t* origin;  // the update before the first look
};

// Samples of a batch that a look goes over.
constexpr int64_t kLookedRows = 32;

}  // namespace evengrad
