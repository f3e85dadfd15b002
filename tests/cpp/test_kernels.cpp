// Kernels without Python, for sanitizers: products, normalization, activations and losses over all
// sizes around the vector width, in memory that ends where the padding ends, against plain loops
// in double. The Python tests are finer; this one sees a read or write one byte too far.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

#include "../../csrc/program.h"

using namespace evengrad;

namespace {

int failures = 0;

void expect_near(const char* what, double got, double wanted, double tolerance) {
  if (std::fabs(got - wanted) <= tolerance) return;
  if (++failures < 20) std::printf("%s: got %.9g, wanted %.9g\n", what, got, wanted);
}

// Exactly rows * padded(columns) floats: the next byte is the sanitizer's.
struct Buffer {
  explicit Buffer(int64_t r, int64_t c) : rows(r), columns(c), pitch(padded(c)) {
    const auto bytes = static_cast<std::size_t>(rows * pitch) * sizeof(float);
    data = static_cast<float*>(::operator new(bytes, std::align_val_t{kAlignment}));
    for (int64_t i = 0; i < rows * pitch; ++i) data[i] = 0.0f;
  }
  ~Buffer() { ::operator delete(data, std::align_val_t{kAlignment}); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void fill() {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) at(r, c) = random();
    }
  }
  static float random() { return static_cast<float>(std::rand() % 2001 - 1000) / 500.0f; }
  float& at(int64_t r, int64_t c) const { return data[r * pitch + c]; }
  Tensor tensor() const { return {data, 1, columns, pitch}; }
  Matrix matrix() const { return {data, rows, columns, pitch}; }

  int64_t rows, columns, pitch;
  float* data;
};

void run(Program& program, int64_t rows) {
  Step step{};
  step.rows = rows;
  step.learning_rate = 0.1;
  step.iteration = 1;
  step.clip = 1.0;
  program.run(step, {1, rows, rows, nullptr});
}

void test_dense(int64_t n, int64_t in, int64_t out) {
  Buffer x(n, in), w(in, out), y(n, out), dy(n, out), dw(in, out), dx(n, in);
  Buffer bias(1, out), db(1, out);
  std::vector<float> memory(static_cast<std::size_t>(padded(out) * spread(n)) + kPitchFloats);
  void* dyt = memory.data();
  std::size_t space = memory.size() * sizeof(float);
  std::align(kAlignment, 1, dyt, space);
  x.fill(), w.fill(), dy.fill(), bias.fill();
  Program program(n);
  program.record(kernels().dense_forward,
                 DenseForward{x.tensor(), w.matrix(), bias.data, y.tensor()}, {});
  program.record(kernels().dense_backward,
                 DenseBackward{x.tensor(),
                               w.matrix(),
                               dy.tensor(),
                               dw.matrix(),
                               db.data,
                               dx.tensor(),
                               static_cast<float*>(dyt),
                               {}},
                 {});
  run(program, n);
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t c = 0; c < out; ++c) {
      double sum = bias.at(0, c);
      for (int64_t k = 0; k < in; ++k) sum += double{x.at(r, k)} * w.at(k, c);
      expect_near("dense y", y.at(r, c), sum, 1e-5 * in);
    }
    for (int64_t k = 0; k < in; ++k) {
      double sum = 0.0;
      for (int64_t c = 0; c < out; ++c) sum += double{dy.at(r, c)} * w.at(k, c);
      expect_near("dense dx", dx.at(r, k), sum, 1e-5 * out);
    }
  }
  for (int64_t c = 0; c < out; ++c) {
    double total = 0.0;
    for (int64_t r = 0; r < n; ++r) total += dy.at(r, c);
    expect_near("dense db", db.at(0, c), total, 1e-5 * n);
    for (int64_t k = 0; k < in; ++k) {
      double sum = 0.0;
      for (int64_t r = 0; r < n; ++r) sum += double{x.at(r, k)} * dy.at(r, c);
      expect_near("dense dw", dw.at(k, c), sum, 1e-5 * n);
    }
  }
}

void test_batch_norm(int64_t n, int64_t columns) {
  Buffer x(n, columns), y(n, columns), dy(n, columns), dx(n, columns), workspace(7, columns);
  const auto width = static_cast<std::size_t>(workspace.pitch);
  const auto chunks = static_cast<std::size_t>(chunks_of(n).count);
  std::vector<double> mean(width), variance(width), partial(2 * chunks * width);
  x.fill(), dy.fill();
  const BatchStatistics statistics{&workspace.at(0, 0), &workspace.at(1, 0), &workspace.at(2, 0),
                                   &workspace.at(5, 0), &workspace.at(6, 0), mean.data(),
                                   variance.data(),     partial.data()};
  Program program(n);
  program.record(kernels().batch_norm_forward,
                 BatchNormForward{x.tensor(), nullptr, nullptr, y.tensor(), {}, statistics, 1e-3},
                 {});
  program.record(kernels().batch_norm_backward,
                 BatchNormBackward{x.tensor(), dy.tensor(), nullptr, nullptr, nullptr, dx.tensor(),
                                   statistics, &workspace.at(3, 0)},
                 {});
  run(program, n);
  for (int64_t c = 0; c < columns; ++c) {
    double m = 0.0, v = 0.0, sum = 0.0;
    for (int64_t r = 0; r < n; ++r) m += x.at(r, c) / static_cast<double>(n);
    for (int64_t r = 0; r < n; ++r) v += std::pow(x.at(r, c) - m, 2) / static_cast<double>(n);
    for (int64_t r = 0; r < n; ++r) {
      expect_near("batch norm y", y.at(r, c), (x.at(r, c) - m) / std::sqrt(v + 1e-3), 1e-5);
      sum += dx.at(r, c);
    }
    expect_near("batch norm dx adds up to 0", sum, 0.0, 1e-3);
  }
}

void test_layer_norm(int64_t n, int64_t columns) {
  Buffer x(n, columns), y(n, columns), dy(n, columns), dx(n, columns), parameters(4, columns);
  const auto width = static_cast<std::size_t>(parameters.pitch);
  const auto chunks = static_cast<std::size_t>(chunks_of(n).count);
  const auto rows = static_cast<std::size_t>(n);
  std::vector<double> mean(rows), inverse(rows), partial(2 * chunks * width);
  x.fill(), dy.fill();
  float *gamma = &parameters.at(0, 0), *beta = &parameters.at(1, 0);
  for (int64_t c = 0; c < columns; ++c) gamma[c] = 1.0f;
  Program program(n);
  program.record(
      kernels().layer_norm_forward,
      LayerNormForward{x.tensor(), gamma, beta, y.tensor(), mean.data(), inverse.data(), 1e-3}, {});
  program.record(
      kernels().layer_norm_backward,
      LayerNormBackward{x.tensor(), gamma, mean.data(), inverse.data(), dy.tensor(),
                        &parameters.at(2, 0), &parameters.at(3, 0), dx.tensor(), partial.data()},
      {});
  run(program, n);
  for (int64_t r = 0; r < n; ++r) {
    double m = 0.0, v = 0.0, sum = 0.0;
    for (int64_t c = 0; c < columns; ++c) m += x.at(r, c) / static_cast<double>(columns);
    for (int64_t c = 0; c < columns; ++c) {
      v += std::pow(x.at(r, c) - m, 2) / static_cast<double>(columns);
    }
    for (int64_t c = 0; c < columns; ++c) {
      expect_near("layer norm y", y.at(r, c), (x.at(r, c) - m) / std::sqrt(v + 1e-3), 1e-5);
      sum += dx.at(r, c);
    }
    expect_near("layer norm dx adds up to 0", sum, 0.0, 1e-3);
  }
}

void test_activations(int64_t n, int64_t columns) {
  const Kernels& k = kernels();
  for (int i = 0; i < k.activation_count; ++i) {
    const Activation& f = k.activations[i];
    Buffer x(n, columns), y(n, columns), dx(n, columns);
    x.fill(), dx.fill();
    x.at(0, 0) = NAN;
    ActivationForward forward{x.tensor(), y.tensor(), {}};
    ActivationBackward backward{x.tensor(), y.tensor(), dx.tensor(), dx.tensor(), {}};
    for (int p = 0; p < f.parameters; ++p) {
      forward.parameter[p] = backward.parameter[p] = f.parameter_default[p];
    }
    Program program(n);
    program.record(f.forward, forward, {});
    program.record(f.backward, backward, {});
    run(program, n);
    expect_near(f.name, std::isnan(y.at(0, 0)), 1.0, 0.0);
  }
}

// Each loss and each metric of rows, of labels and of a target of zeros.
void test_row_functions(int64_t n, int64_t columns) {
  Buffer x(n, columns), target(n, columns), dx(n, columns);
  std::vector<int32_t> labels(static_cast<std::size_t>(n), static_cast<int32_t>(columns - 1));
  std::vector<float> each(static_cast<std::size_t>(n));
  std::vector<double> partial(static_cast<std::size_t>(chunks_of(n).count));
  const Kernels& k = kernels();
  for (int i = 0; i < k.loss_count + k.metric_count; ++i) {
    const bool metric = i >= k.loss_count;
    const RowFunction& f = metric ? k.metrics[i - k.loss_count] : k.losses[i];
    for (const bool sparse : {false, true}) {
      std::fill(x.data, x.data + n * x.pitch, 0.25f);
      double result[2] = {};
      Program program(n);
      LossArgs args{};
      args.of.x = x.tensor();
      if (sparse) args.of.labels = labels.data();
      if (!sparse) args.of.target = target.tensor();
      std::copy(f.parameter_default, f.parameter_default + 2, args.parameter);
      args.reduction = metric ? Reduction::kNone : Reduction::kMean;
      if (!metric) args.dx = dx.tensor();
      if (metric) args.each = each.data();
      args.partial = partial.data();
      args.result = result;
      program.record(f.run, args, {});
      run(program, n);
      expect_near(f.name, result[1], static_cast<double>(n), 0.0);
      if (i == 0 && sparse) {  // every class is as likely
        expect_near("loss", result[0], n * std::log(static_cast<double>(columns)), 1e-4 * n);
      }
    }
  }
}

void test_sums(int64_t n, int64_t columns) {
  Buffer x(n, columns), target(n, columns);
  const std::vector<float> thresholds{-1.0f, 0.5f};
  std::vector<double> result(static_cast<std::size_t>(columns * 6 + 2));
  std::vector<double> partial(result.size() * kMostParts);
  const Compared of{x.tensor(), nullptr, target.tensor(), nullptr};
  Program program(n);
  program.record(
      kernels().confusion,
      ConfusionArgs{of, thresholds.data(), 2, 1, -1, false, true, partial.data(), result.data()},
      {});
  run(program, n);
  double total = 0.0;
  for (const double value : result) total += value;
  expect_near("confusion", total, static_cast<double>(n * columns), 0.0);
  for (const auto kernel : {kernels().f_score_sums, kernels().r2_sums}) {
    std::fill(result.begin(), result.end(), 0.0);
    Program sums(n);
    sums.record(kernel, ColumnSumsArgs{of, -1.0f, partial.data(), result.data()}, {});
    run(sums, n);
    expect_near("sums", result[static_cast<std::size_t>(3 * columns)], static_cast<double>(n), 0.0);
  }
}

}  // namespace

int main() {
  if (*kernels_error()) {
    std::puts(kernels_error());
    return 77;  // this processor has no such instruction set
  }
  std::printf("kernels: %s, threads: %d\n", kernels().isa, get_num_threads());
  const int64_t sizes[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 65};
  for (const int64_t n : {1, 2, 8, 31, 65, 130, 200}) {
    for (const int64_t columns : sizes) {
      test_batch_norm(n, columns);
      test_layer_norm(n, columns);
      test_activations(n, columns);
      test_row_functions(n, columns);
      test_sums(n, columns);
      test_dense(n, columns, 17);
      test_dense(n, 33, columns);
    }
  }
  if (failures) std::printf("%d values are wrong\n", failures);
  return failures ? 1 : 0;
}
