// All kernels for one instruction set: compiled once for each, with EVENGRAD_TARGET its name.
// Exports one symbol, the table; everything else is static, so that the linker cannot mix sets.
#include "activations.h"
#include "adam.h"
#include "adaptive_clip.h"
#include "affine.h"
#include "averages.h"
#include "batch_norm.h"
#include "clip.h"
#include "constraints.h"
#include "data.h"
#include "dense.h"
#include "health.h"
#include "layer_norm.h"
#include "losses_by_row.h"
#include "losses_elementwise.h"
#include "metric_sums.h"
#include "metrics.h"
#include "optimizers.h"
#include "prelu.h"
#include "regularizers.h"
#include "rng.h"
#include "softmax.h"
#include "unit_clip.h"

#define EVENGRAD_STRING2(x) #x
#define EVENGRAD_STRING(x) EVENGRAD_STRING2(x)

namespace evengrad::EVENGRAD_TARGET {

static constexpr auto kFamily = table_of(Family{});
static constexpr auto kLosses = row_functions_of(Losses{});
static constexpr auto kMetrics = row_functions_of(Metrics{});
static constexpr Kernels kTable{
    EVENGRAD_STRING(EVENGRAD_TARGET),
    kFamily.entries,
    kFamily.kCount,
    kLosses.entries,
    kLosses.kCount,
    kMetrics.entries,
    kMetrics.kCount,
    erase<DenseForward, dense_forward>(),
    erase<DenseBackward, dense_backward>(),
    erase<BatchNormForward, batch_norm_forward>(),
    erase<BatchNormBackward, batch_norm_backward>(),
    erase<BatchNormMoving, batch_norm_moving>(),
    erase<BatchNormInference, batch_norm_inference>(),
    erase<BatchNormFrozenBackward, batch_norm_frozen_backward>(),
    erase<LayerNormForward, layer_norm_forward>(),
    erase<LayerNormBackward, layer_norm_backward>(),
    erase<PReLUForward, prelu_forward>(),
    erase<PReLUBackward, prelu_backward>(),
    erase<SoftmaxForward, softmax_forward>(),
    erase<SoftmaxBackward, softmax_backward>(),
    erase<SoftmaxForward, log_softmax_forward>(),
    erase<SoftmaxBackward, log_softmax_backward>(),
    erase<Dropout, dropout>(),
    erase<Noise, noise>(),
    erase<Affine, affine>(),
    erase<Add, add>(),
    erase<Reshape, reshape>(),
    erase<Gather, gather>(),
    erase<Scatter, scatter>(),
    erase<Copy, copy>(),
    erase<ConfusionArgs, confusion>(),
    erase<ColumnSumsArgs, column_sums<FScore>>(),
    erase<ColumnSumsArgs, column_sums<R2>>(),
    erase<GradientNorms, gradient_norms>(),
    erase<AutoClip, auto_clip>(),
    erase<ZClip, z_clip>(),
    erase<UnitClip, unit_clip>(),
    erase<Regularize, regularize>(),
    erase<Constrain, constrain>(),
    erase<Update, clip>(),
    erase<Update, sgd>(),
    erase<Update, adam>(),
    erase<Update, rmsprop>(),
    erase<Update, nadam>(),
    erase<Update, adamax>(),
    erase<Update, adagrad>(),
    erase<Update, adadelta>(),
    erase<Update, lion>(),
    erase<Accumulation, accumulate>(),
    erase<Accumulation, carry>(),
    erase<Average, average>(),
    erase<Health, watch>(),
};

extern const Kernels& table();
const Kernels& table() { return kTable; }

}  // namespace evengrad::EVENGRAD_TARGET
