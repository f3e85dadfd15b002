// Data in and out, losses, metrics.
#include "array_view.h"
#include "named.h"

namespace evengrad::bindings {

namespace {

const Named<Loss> kLosses[] = {
    {"softmax_cross_entropy", Loss::kSoftmaxCrossEntropy},
    {"sigmoid_cross_entropy", Loss::kSigmoidCrossEntropy},
    {"categorical_cross_entropy", Loss::kCategoricalCrossEntropy},
    {"binary_cross_entropy", Loss::kBinaryCrossEntropy},
    {"mean_squared_error", Loss::kMeanSquaredError},
};
const Named<Metric> kMetrics[] = {
    {"sparse_accuracy", Metric::kSparseAccuracy},
    {"categorical_accuracy", Metric::kCategoricalAccuracy},
    {"binary_accuracy", Metric::kBinaryAccuracy},
    {"squared_error", Metric::kSquaredError},
    {"absolute_error", Metric::kAbsoluteError},
};
// Exactly one of labels (one a sample) and target (as x) says what is right.
void fill_truth(PyProgram& self, Arguments& a, const Tensor& x, const py::object& labels,
                const py::object& target, const int32_t** to_labels, Tensor* to_target) {
  if (labels.is_none() == target.is_none()) {
    throw py::value_error("labels, target: expected exactly one of the two");
  }
  if (!target.is_none()) {
    *to_target = a.batch_like(target, "target", Access::kRead, x);
    return;
  }
  if (x.per_sample != 1) throw py::value_error("labels: expected x with one row a sample");
  *to_labels = a.plain<int32_t>(labels, "labels", Access::kRead, self.capacity());
}

void loss(PyProgram& self, std::string kind, py::object x, py::object labels, py::object target,
          py::object weight, py::object dx, py::object result) {
  Arguments a(self);
  LossArgs args{};
  args.kind = kind_named(kLosses, "kind", kind);
  args.x = a.batch(x, "x", Access::kWrite);
  fill_truth(self, a, args.x, labels, target, &args.labels, &args.target);
  if (!weight.is_none()) {
    args.weight = a.plain<float>(weight, "weight", Access::kRead, self.capacity());
  }
  if (!dx.is_none()) args.dx = a.batch_like(dx, "dx", Access::kWrite, args.x);
  args.result = a.plain<double>(result, "result", Access::kWrite, 1);
  a.check();
  args.partial = self.workspace<double>(self.chunks_at_most(args.x.per_sample));
  const double work = 30.0 * static_cast<double>(args.x.per_sample * args.x.columns);
  self.program.record(kernels().loss, args, {a.extents(), true, work});
}

void metric(PyProgram& self, std::string kind, py::object x, py::object labels, py::object target,
            py::object result) {
  Arguments a(self);
  MetricArgs args{};
  args.kind = kind_named(kMetrics, "kind", kind);
  args.x = a.batch(x, "x", Access::kRead);
  fill_truth(self, a, args.x, labels, target, &args.labels, &args.target);
  const bool sparse = args.kind == Metric::kSparseAccuracy;
  const bool dense = args.kind == Metric::kCategoricalAccuracy;
  if ((sparse && !args.labels) || (dense && args.labels)) {
    throw py::value_error("labels, target: " + kind + " expects " + (sparse ? "labels" : "target"));
  }
  args.result = a.plain<double>(result, "result", Access::kWrite, 1);
  a.check();
  args.partial = self.workspace<double>(self.chunks_at_most(args.x.per_sample));
  self.program.record(kernels().metric, args, {a.extents()});
}

// All that gathers in a program reads rows of one width, all that scatters likewise.
void settle_width(int64_t* known, int64_t width, const char* name) {
  if (*known && *known != width) {
    throw py::value_error(std::string(name) + ": expected " + std::to_string(*known) +
                          " numbers a sample, as recorded before, got " + std::to_string(width));
  }
  *known = width;
}

void gather(PyProgram& self, py::object x, py::object labels, py::object target,
            py::object weight) {
  if (!labels.is_none() && !target.is_none()) {
    throw py::value_error("labels, target: expected at most one of the two");
  }
  if (self.labels && !target.is_none()) {
    throw py::value_error("target: expected labels, as recorded before");
  }
  if (self.target_width && !labels.is_none()) {
    throw py::value_error("labels: expected target, as recorded before");
  }
  Arguments a(self);
  Gather args{};
  args.x = a.batch(x, "x", Access::kWrite);
  if (!labels.is_none()) {
    args.labels = a.plain<int32_t>(labels, "labels", Access::kWrite, self.capacity());
  }
  if (!target.is_none()) args.target = a.batch(target, "target", Access::kWrite);
  if (!weight.is_none()) {
    args.weight = a.plain<float>(weight, "weight", Access::kWrite, self.capacity());
  }
  a.check();
  settle_width(&self.x_width, args.x.per_sample * args.x.columns, "x");
  if (args.target.data) {
    settle_width(&self.target_width, args.target.per_sample * args.target.columns, "target");
  }
  self.labels = self.labels || args.labels;
  self.program.record(kernels().gather, args, {a.extents(), true});
}

void scatter(PyProgram& self, py::object y) {
  Arguments a(self);
  Scatter args{};
  args.y = a.batch(y, "y", Access::kRead);
  settle_width(&self.output_width, args.y.per_sample * args.y.columns, "y");
  self.program.record(kernels().scatter, args, {a.extents()});
}

void copy(PyProgram& self, py::object source, py::object destination) {
  Arguments a(self);
  Copy args{};
  args.count =
      py::isinstance<py::array>(source) ? py::reinterpret_borrow<py::array>(source).size() : 0;
  args.from = a.plain<double>(source, "source", Access::kRead, args.count);
  args.to = a.plain<double>(destination, "destination", Access::kWrite, args.count);
  a.check();
  self.program.record(kernels().copy, args, {a.extents()});
}

}  // namespace

void bind_training(py::class_<PyProgram>& program) {
  define(program, "loss", loss,
         {{"kind"}, {"x"}, {"labels"}, {"target"}, {"weight"}, {"dx"}, {"result"}});
  define(program, "metric", metric, {{"kind"}, {"x"}, {"labels"}, {"target"}, {"result"}});
  define(program, "gather", gather, {{"x"}, {"labels"}, {"target"}, {"weight"}});
  define(program, "scatter", scatter, {{"y"}});
  define(program, "copy", copy, {{"source"}, {"destination"}});
}

}  // namespace evengrad::bindings
