// The seam between the kernels, compiled once per instruction set, and the rest, compiled once.
// Conventions for every kernel: see Tensor, Matrix, Step and Kernel below.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace evengrad {

constexpr int64_t kPitchFloats = 16;  // rows start at multiples of this; one cache line
constexpr int64_t kAlignment = 64;    // bytes; every row of a Tensor or Matrix starts on it

static inline int64_t padded(int64_t columns) {
  return (columns + kPitchFloats - 1) / kPitchFloats * kPitchFloats;
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
enum class Failure : int32_t { kNone, kGradient, kLoss, kLabel, kIndex };

// Written by one thread, read by all after the next barrier.
struct Control {
  Failure failure;
  int64_t where;  // kGradient: index of the variable; kLabel, kIndex: the value found
};

// The scalars and the data of one step: all that may change between replays.
struct Step {
  int64_t rows;       // samples in this batch, 0 < rows <= capacity
  int64_t iteration;  // number of this update, from 1
  double learning_rate;
  double clip;  // threshold of the clipping the program was recorded with
  uint64_t seed;
  const float* x;        // source rows, contiguous
  const void* y;         // int32 labels or float rows, contiguous
  const float* weight;   // one per source row, or null
  const int64_t* order;  // which source rows make this batch, or null for first, first + 1, ...
  int64_t first, source_rows;
  float* output;  // destination rows of scatter, contiguous
  Control* control;
};

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
  float* dyt;  // workspace [padded(n_out)][padded(rows)] for dx
  FoldedNormalization folded;
};

// What batch normalization saves of a batch, one value a column:
// mean = center + offset, where x - center is exact near the mean.
struct BatchStatistics {
  float *center, *offset, *inverse;  // inverse = 1 / sqrt(variance + epsilon)
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
  float* sums;  // workspace [2][pitch]: means over the batch of dy and dy xhat
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
struct SoftmaxForward {  // y may be x
  Tensor x, y;
};
struct SoftmaxBackward {  // dx may be dy
  Tensor y, dy, dx;
};
struct Dropout {  // y = x * mask / (1 - rate); forward and backward; y may be x
  Tensor x, y;
  double rate;
  uint32_t layer;
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

enum class Loss : int32_t {
  kSoftmaxCrossEntropy,      // x: logits in, probabilities out
  kSigmoidCrossEntropy,      // likewise
  kCategoricalCrossEntropy,  // x: probabilities, rows divided by their sum
  kBinaryCrossEntropy,       // x: probabilities
  kMeanSquaredError,
};
struct LossArgs {
  Loss kind;
  Tensor x;
  const int32_t* labels;  // or null: then target
  Tensor target;
  const float* weight;  // one a sample, or null
  Tensor dx;            // data null: not wanted
  double* partial;      // workspace [chunks]
  double* result;       // += sum over rows of weight * loss
};
enum class Metric : int32_t {
  kSparseAccuracy,
  kCategoricalAccuracy,
  kBinaryAccuracy,
  kSquaredError,
  kAbsoluteError
};
struct MetricArgs {
  Metric kind;
  Tensor x;
  const int32_t* labels;
  Tensor target;
  double* partial;
  double* result;  // += sum over rows
};

// A piece of a variable small enough to balance threads, and the same for any number of them.
struct Chunk {
  float *value, *gradient, *slot[3];
  int64_t length;
  int32_t variable;
};
enum class Clip : int32_t { kNone, kValue, kNorm, kGlobalNorm };
struct GradientNorms {
  const Chunk* chunks;
  int64_t count;
  int64_t variables;
  double* partial;  // workspace [count]
  double* norms;    // [variables]: sum of squares
};
struct Update {
  const Chunk* chunks;
  int64_t count;
  int64_t variables;
  const double* norms;  // from GradientNorms; null when nothing clips by norm
  Clip clip;
  double a, b, epsilon;  // sgd: momentum; adam: beta_1, beta_2; rmsprop: rho, momentum
  bool variant;          // sgd: nesterov; adam: amsgrad; rmsprop: centered
};

// One entry of the activation family, made from the struct in activations.h.
struct Activation {
  const char* name;
  const char* formula;
  bool needs_input;  // the backward reads x, not only y
  int parameters;
  const char* parameter_name[3];
  float parameter_default[3];
  float parameter_minimum[3];
  KernelOf<ActivationForward> forward;
  KernelOf<ActivationBackward> backward;
};

struct Kernels {
  const char* isa;
  const Activation* activations;
  int activation_count;
  KernelOf<DenseForward> dense_forward;
  KernelOf<DenseBackward> dense_backward;
  KernelOf<BatchNormForward> batch_norm_forward;
  KernelOf<BatchNormBackward> batch_norm_backward;
  KernelOf<BatchNormMoving> batch_norm_moving;
  KernelOf<BatchNormInference> batch_norm_inference;
  KernelOf<BatchNormFrozenBackward> batch_norm_frozen_backward;
  KernelOf<PReLUForward> prelu_forward;
  KernelOf<PReLUBackward> prelu_backward;
  KernelOf<SoftmaxForward> softmax_forward;
  KernelOf<SoftmaxBackward> softmax_backward;
  KernelOf<Dropout> dropout;
  KernelOf<Reshape> reshape;
  KernelOf<Gather> gather;
  KernelOf<Scatter> scatter;
  KernelOf<Copy> copy;
  KernelOf<LossArgs> loss;
  KernelOf<MetricArgs> metric;
  KernelOf<GradientNorms> gradient_norms;
  KernelOf<Update> clip;
  KernelOf<Update> sgd;
  KernelOf<Update> adam;
  KernelOf<Update> rmsprop;
};

// The table of the best instruction set that this processor and EVENGRAD_ISA allow.
const Kernels& kernels();
// Its name, or a message in `error` when EVENGRAD_ISA names none that can run here.
const char* kernels_error();

}  // namespace evengrad
