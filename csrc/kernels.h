// The seam between the kernels, compiled once per instruction set, and the rest, compiled once:
// the table of kernels. What they are given is in arguments.h,
// update_arguments.h and health_arguments.h, what all have in common in step.h.
#pragma once
#include "health_arguments.h"

namespace evengrad {

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

// One entry of the losses and of the metrics that are means over rows, from the struct in
// losses_elementwise.h, losses_by_row.h or metrics.h.
struct RowFunction {
  const char* name;
  const char* formula;
  bool gradient;    // there is one
  bool overwrites;  // x becomes probabilities
  int parameters;
  const char* parameter_name[2];
  float parameter_default[2];
  KernelOf<LossArgs> run;
};

struct Kernels {
  const char* isa;
  const Activation* activations;
  int activation_count;
  const RowFunction* losses;
  int loss_count;
  const RowFunction* metrics;
  int metric_count;
  KernelOf<DenseForward> dense_forward;
  KernelOf<DenseBackward> dense_backward;
  KernelOf<BatchNormForward> batch_norm_forward;
  KernelOf<BatchNormBackward> batch_norm_backward;
  KernelOf<BatchNormMoving> batch_norm_moving;
  KernelOf<BatchNormInference> batch_norm_inference;
  KernelOf<BatchNormFrozenBackward> batch_norm_frozen_backward;
  KernelOf<LayerNormForward> layer_norm_forward;
  KernelOf<LayerNormBackward> layer_norm_backward;
  KernelOf<PReLUForward> prelu_forward;
  KernelOf<PReLUBackward> prelu_backward;
  KernelOf<SoftmaxForward> softmax_forward;
  KernelOf<SoftmaxBackward> softmax_backward;
  KernelOf<SoftmaxForward> log_softmax_forward;
  KernelOf<SoftmaxBackward> log_softmax_backward;
  KernelOf<Dropout> dropout;
  KernelOf<Noise> noise;
  KernelOf<Affine> affine;
  KernelOf<Add> add;
  KernelOf<Reshape> reshape;
  KernelOf<Gather> gather;
  KernelOf<Scatter> scatter;
  KernelOf<Copy> copy;
  KernelOf<ConfusionArgs> confusion;
  KernelOf<ColumnSumsArgs> f_score_sums;
  KernelOf<ColumnSumsArgs> r2_sums;
  KernelOf<GradientNorms> gradient_norms;
  KernelOf<AutoClip> auto_clip;
  KernelOf<ZClip> z_clip;
  KernelOf<UnitClip> unit_clip;
  KernelOf<Regularize> regularize;
  KernelOf<Constrain> constrain;
  KernelOf<Update> clip;
  KernelOf<Update> sgd;
  KernelOf<Update> adam;
  KernelOf<Update> rmsprop;
  KernelOf<Update> nadam;
  KernelOf<Update> adamax;
  KernelOf<Update> adagrad;
  KernelOf<Update> adadelta;
  KernelOf<Update> lion;
  KernelOf<Accumulation> accumulate;
  KernelOf<Accumulation> carry;
  KernelOf<Average> average;
  KernelOf<Health> watch;
};

// The table of the best instruction set that this processor and EVENGRAD_ISA allow.
const Kernels& kernels();
// Its name, or a message in `error` when EVENGRAD_ISA names none that can run here.
const char* kernels_error();
// The i-th of the tables that this processor can run, from the best to the baseline's; then null.
const Kernels* runnable_kernels(int i);

}  // namespace evengrad
