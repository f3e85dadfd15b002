// What each kernel of layers, data, losses and metrics is given: shapes, layouts, what may be null,
// what may alias.
#pragma once
#include "step.h"

namespace evengrad {

struct DenseForward {  // y = x w + bias
  Tensor x;
  Matrix w;
  const float* bias;  // or null
  Tensor y;
};
// A batch normalization before a dense layer, its input's gradient not wanted: its own come out of
// the product that the dense layer needs anyway. With G = xhat' dy and s = column sums of dy:
// dw = gamma G + beta s, dgamma = sum over columns of w G, dbeta = w s.
struct FoldedNormalization {
  Tensor xhat;                // data null: none folded
  const float *gamma, *beta;  // or null: 1, 0
  float *dgamma, *dbeta;      // or null
  float* sums;                // workspace [padded(n_out)]
};
struct DenseBackward {  // dw = x' dy, db = column sums of dy, dx = dy w'
  Tensor x;
  Matrix w;
  Tensor dy;
  Matrix dw;   // data null: not wanted
  float* db;   // or null
  Tensor dx;   // data null: not wanted
  float* dyt;  // workspace [padded(n_out)][spread(rows)] for dx
  FoldedNormalization folded;
};

// What batch normalization saves of a batch, one value a column:
// mean = center + offset, where x - center is exact near the mean.
struct BatchStatistics {
  float *center, *offset, *inverse;  // inverse = 1 / sqrt(variance + epsilon)
  float *scale, *shift;              // gamma and beta, or 1 and 0
  double *mean, *variance;
  double* partial;  // workspace [2][chunks][pitch]
};
struct BatchNormForward {  // y = (x - mean) / sqrt(variance + epsilon) * gamma + beta
  Tensor x;
  const float *gamma, *beta;  // or null
  Tensor y;
  Tensor xhat;  // data null: not wanted
  BatchStatistics statistics;
  double epsilon;
};
struct BatchNormBackward {
  Tensor x, dy;
  const float* gamma;     // or null
  float *dgamma, *dbeta;  // or null
  Tensor dx;              // data null: not wanted; may be dy
  BatchStatistics statistics;
  float* sums;  // workspace [3][pitch]
};
struct BatchNormMoving {  // moving += weight * (batch - moving)
  int64_t columns;
  const double *mean, *variance;
  double *moving_mean, *moving_variance;
  int64_t* count;  // batches seen so far
  double momentum;
  bool debias;  // weight (1 - m) / (1 - m^t), else 1 - m
};
struct BatchNormInference {
  Tensor x;
  const float *gamma, *beta;  // or null
  const double *moving_mean, *moving_variance;
  Tensor y;
  float* workspace;  // [4][pitch]
  double epsilon;
};

struct BatchNormFrozenBackward {  // dx = dy gamma / sqrt(moving_variance + epsilon)
  Tensor dy;
  const float* gamma;  // or null
  const double* moving_variance;
  Tensor dx;         // may be dy
  float* workspace;  // [pitch]
  double epsilon;
};

// mean and inverse = 1 / sqrt(variance + epsilon), one a row, are left for backward.
struct LayerNormForward {  // y = (x - mean) inverse gamma + beta; y may be x
  Tensor x;
  const float *gamma, *beta;
  Tensor y;
  double *mean, *inverse;
  double epsilon;
};
struct LayerNormBackward {
  Tensor x;
  const float* gamma;
  const double *mean, *inverse;
  Tensor dy;
  float *dgamma, *dbeta;  // or null
  Tensor dx;              // data null: not wanted, then one of the two is; may be dy
  double* partial;        // workspace [2][chunks][pitch]
};

struct ActivationForward {  // y = f(x); y may be x
  Tensor x, y;
  float parameter[3];
};
struct ActivationBackward {  // dx = dy f'(x); dx may be dy
  Tensor x, y, dy, dx;       // x.data null unless the activation needs its input
  float parameter[3];
};
struct PReLUForward {
  Tensor x;
  const float* alpha;
  Tensor y;
};
struct PReLUBackward {
  Tensor x;
  const float* alpha;
  Tensor dy;
  float* dalpha;    // or null
  Tensor dx;        // data null: not wanted; may be dy
  double* partial;  // workspace [chunks][pitch]
};
struct SoftmaxForward {  // softmax, log-softmax; y may be x
  Tensor x, y;
};
struct SoftmaxBackward {  // dx may be dy
  Tensor y, dy, dx;
};
// y = x scale + shift with probability 1 - rate, else `dropped`; y may be x.
struct Dropout {
  Tensor x, y;
  double rate;
  float scale, shift, dropped;
  uint32_t layer;
};
struct Noise {  // y = x + z (added + multiplied x), z normal; y may be x
  Tensor x, y;
  float added, multiplied;
  uint32_t layer;
};
enum class AffineKind : int32_t { kNormalize, kDenormalize, kScale };
// y = (x - center) / d, x d + center with d = max(sqrt(spread), 1e-7), or x spread + center, column
// by column; y may be x.
struct Affine {
  AffineKind kind;
  Tensor x;
  const double *center, *spread;
  Tensor y;
  bool gradient;     // x and y are gradients: without center
  float* workspace;  // [4][pitch]
};
struct Add {  // y = a + b; y may be either
  Tensor a, b, y;
};
struct Reshape {  // the same numbers, sample by sample, in rows of another length
  Tensor x, y;
};

struct Gather {  // the step's source rows into x, labels or target, weight
  Tensor x;
  int32_t* labels;  // or null
  Tensor target;    // data null: none
  float* weight;    // or null
};
struct Scatter {  // y into the step's output rows
  Tensor y;
};
struct Copy {  // what a failed step is to be taken back to
  const double* from;
  double* to;
  int64_t count;
};

// What a loss or a metric compares: predictions with the truth.
struct Compared {
  Tensor x;
  const int32_t* labels;  // one a sample, or null: then target
  Tensor target;
  const float* weight;  // one a sample, or null: 1 each
};
// What sum(weight * loss) is divided by. kNone: by nothing yet, result takes both sums.
enum class Reduction : int32_t { kNone, kSum, kMean, kWeightedMean };
struct LossArgs {
  Compared of;          // of.x: what the loss makes of logits stays there, probabilities
  float parameter[2];   // as the loss' table says
  Reduction reduction;  // kNone: without dx
  Tensor dx;            // data null: not wanted
  float* each;          // weight * loss of each row, or null
  double* partial;      // workspace [chunks]
  double* result;       // += {reduced loss * rows, rows}; kNone: sums of weight * loss, weight
};
struct ConfusionArgs {  // how much truth lies between thresholds, by predictions
  Compared of;
  const float* thresholds;  // ascending [count]
  int64_t count;
  int64_t top_k;     // only so many of a row's largest can be positive; 0: all
  int64_t class_id;  // the one column to look at; -1: all
  bool even;         // thresholds are i / (count - 1), but perhaps for the first and the last
  bool by_column;    // result has a block for each column
  double* partial;   // workspace [kMostParts] results
  double* result;    // += weights [columns or 1][false, true][number of thresholds below]
};
struct ColumnSumsArgs {  // three sums over rows for each column
  Compared of;
  float threshold;  // of f_score; below 0: the row's largest is positive
  double* partial;  // workspace [kMostParts] results
  double* result;   // += [3][columns], sum of weights, number of rows
};
constexpr int64_t kMostParts = 8;
constexpr int64_t kMostColumns = 1 << 24;  // of what losses and metrics compare

}  // namespace evengrad
