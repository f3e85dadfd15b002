// Data in and out, losses, metrics, gradient norms, clipping, updates.
#include "array_view.h"

namespace evengrad::bindings {

namespace {

template <class Kind>
struct Named {
  const char* name;
  Kind kind;
};
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
const Named<Clip> kClips[] = {
    {"none", Clip::kNone},
    {"value", Clip::kValue},
    {"norm", Clip::kNorm},
    {"global_norm", Clip::kGlobalNorm},
};

template <class Kind, std::size_t n>
Kind kind_named(const Named<Kind> (&table)[n], const char* argument, const std::string& name) {
  std::string known;
  for (const auto& entry : table) {
    if (name == entry.name) return entry.kind;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw py::value_error(std::string(argument) + ": expected one of " + known + ", got '" + name +
                        "'");
}

// Exactly one of labels (one a sample) and target (as x) says what is right.
void fill_truth(PyProgram& self, const Tensor& x, const py::object& labels,
                const py::object& target, const int32_t** to_labels, Tensor* to_target) {
  if (labels.is_none() == target.is_none()) {
    throw py::value_error("labels, target: expected exactly one of the two");
  }
  if (!target.is_none()) {
    *to_target = ArrayView(self, target, "target", Access::kRead).like(x);
    return;
  }
  if (x.per_sample != 1) throw py::value_error("labels: expected x with one row a sample");
  *to_labels = ArrayView(self, labels, "labels", Access::kRead).plain<int32_t>(self.capacity());
}

void loss(PyProgram& self, const std::string& kind, py::object x, py::object labels,
          py::object target, py::object weight, py::object dx, py::object result) {
  LossArgs args{};
  args.kind = kind_named(kLosses, "kind", kind);
  const ArrayView x_(self, x, "x", Access::kWrite);
  args.x = x_.tensor();
  fill_truth(self, args.x, labels, target, &args.labels, &args.target);
  if (!weight.is_none()) {
    args.weight = ArrayView(self, weight, "weight", Access::kRead).plain<float>(self.capacity());
  }
  if (!dx.is_none()) {
    const ArrayView dx_(self, dx, "dx", Access::kWrite);
    args.dx = dx_.like(args.x);
    check_apart(dx_.borrowed(), {x_.borrowed()});
  }
  args.result = ArrayView(self, result, "result", Access::kWrite).plain<double>(1);
  args.partial = self.workspace<double>(self.chunks_at_most(args.x.per_sample));
  Flow flow;
  flow.checks = true;
  flow.work = 30.0 * static_cast<double>(args.x.per_sample * args.x.columns);
  self.program.record(kernels().loss, args, flow);
}

void metric(PyProgram& self, const std::string& kind, py::object x, py::object labels,
            py::object target, py::object result) {
  MetricArgs args{};
  args.kind = kind_named(kMetrics, "kind", kind);
  args.x = ArrayView(self, x, "x", Access::kRead).tensor();
  fill_truth(self, args.x, labels, target, &args.labels, &args.target);
  const bool sparse = args.kind == Metric::kSparseAccuracy;
  const bool dense = args.kind == Metric::kCategoricalAccuracy;
  if ((sparse && !args.labels) || (dense && args.labels)) {
    throw py::value_error("labels, target: " + kind + " expects " + (sparse ? "labels" : "target"));
  }
  args.result = ArrayView(self, result, "result", Access::kWrite).plain<double>(1);
  args.partial = self.workspace<double>(self.chunks_at_most(args.x.per_sample));
  self.program.record(kernels().metric, args, {});
}

void gather(PyProgram& self, py::object x, py::object labels, py::object target,
            py::object weight) {
  Gather args{};
  args.x = ArrayView(self, x, "x", Access::kWrite).tensor();
  if (!labels.is_none() && !target.is_none()) {
    throw py::value_error("labels, target: expected at most one of the two");
  }
  if (!labels.is_none()) {
    args.labels = ArrayView(self, labels, "labels", Access::kWrite).plain<int32_t>(self.capacity());
    self.labels = true;
  }
  if (!target.is_none()) {
    args.target = ArrayView(self, target, "target", Access::kWrite).tensor();
    self.y_width = args.target.per_sample * args.target.columns;
  }
  if (!weight.is_none()) {
    args.weight = ArrayView(self, weight, "weight", Access::kWrite).plain<float>(self.capacity());
  }
  self.x_width = args.x.per_sample * args.x.columns;
  Flow flow;
  flow.checks = true;
  self.program.record(kernels().gather, args, flow);
}

void scatter(PyProgram& self, py::object y) {
  Scatter args{};
  args.y = ArrayView(self, y, "y", Access::kRead).tensor();
  self.output_width = args.y.per_sample * args.y.columns;
  self.program.record(kernels().scatter, args, {});
}

// One variable after another, in pieces that threads can share.
constexpr int64_t kChunkFloats = 4096;

// The floats of a vector or matrix with everything between its rows, padding included.
struct Span {
  float* data;
  int64_t length;
};
Span span_of(PyProgram& self, py::handle object, const char* name, Access access) {
  const ArrayView view(self, object, name, access);
  if (py::reinterpret_borrow<py::array>(object).ndim() == 1) {
    const int64_t n = py::reinterpret_borrow<py::array>(object).shape(0);
    return {view.vector(n), padded(n)};
  }
  const Matrix m = view.matrix(-1, -1);
  return {m.data, (m.rows - 1) * m.pitch + padded(m.columns)};
}

std::vector<Span> spans_of(PyProgram& self, const py::sequence& arrays, const char* name,
                           Access access) {
  std::vector<Span> spans;
  for (const py::handle object : arrays) spans.push_back(span_of(self, object, name, access));
  return spans;
}

void check_lengths(const std::vector<Span>& a, const std::vector<Span>& b, const char* name) {
  bool fits = a.size() == b.size();
  for (std::size_t i = 0; fits && i < a.size(); ++i) fits = a[i].length == b[i].length;
  if (!fits) {
    throw py::value_error(std::string(name) +
                          ": expected arrays of the shapes and row pitches of the gradients");
  }
}

// values and slots may be empty.
std::pair<const Chunk*, int64_t> chunks_of_variables(PyProgram& self,
                                                     const std::vector<Span>& gradients,
                                                     const std::vector<Span>& values,
                                                     const std::vector<std::vector<Span>>& slots) {
  std::vector<Chunk> chunks;
  for (std::size_t v = 0; v < gradients.size(); ++v) {
    for (int64_t at = 0; at < gradients[v].length; at += kChunkFloats) {
      Chunk chunk{};
      chunk.gradient = gradients[v].data + at;
      if (!values.empty()) chunk.value = values[v].data + at;
      for (std::size_t s = 0; s < slots.size(); ++s) {
        if (!slots[s].empty()) chunk.slot[s] = slots[s][v].data + at;
      }
      chunk.length = std::min(kChunkFloats, gradients[v].length - at);
      chunk.variable = static_cast<int32_t>(v);
      chunks.push_back(chunk);
    }
  }
  auto* memory = self.workspace<Chunk>(static_cast<int64_t>(chunks.size()));
  std::copy(chunks.begin(), chunks.end(), memory);
  return {memory, static_cast<int64_t>(chunks.size())};
}

double* norms_of(PyProgram& self, const py::object& norms, std::size_t variables, Access access) {
  return ArrayView(self, norms, "norms", access).plain<double>(static_cast<int64_t>(variables));
}

void gradient_norms(PyProgram& self, py::sequence gradients, py::object norms) {
  const auto g = spans_of(self, gradients, "gradients", Access::kRead);
  GradientNorms args{};
  std::tie(args.chunks, args.count) = chunks_of_variables(self, g, {}, {});
  args.variables = static_cast<int64_t>(g.size());
  args.partial = self.workspace<double>(args.count);
  args.norms = norms_of(self, norms, g.size(), Access::kWrite);
  Flow flow;
  flow.checks = true;
  self.program.record(kernels().gradient_norms, args, flow);
}

Update update_of(PyProgram& self, const py::object& values, const py::sequence& gradients,
                 const std::vector<py::object>& slots, const py::object& norms,
                 const std::string& clip, Access gradient_access) {
  const auto g = spans_of(self, gradients, "gradients", gradient_access);
  std::vector<Span> w;
  if (!values.is_none()) {
    w = spans_of(self, py::sequence(values), "values", Access::kWrite);
    check_lengths(g, w, "values");
  }
  std::vector<std::vector<Span>> s;
  for (const py::object& slot : slots) {
    s.emplace_back();
    if (slot.is_none()) continue;
    s.back() = spans_of(self, py::sequence(slot), "slots", Access::kWrite);
    check_lengths(g, s.back(), "slots");
  }
  Update args{};
  std::tie(args.chunks, args.count) = chunks_of_variables(self, g, w, s);
  args.variables = static_cast<int64_t>(g.size());
  args.norms = norms_of(self, norms, g.size(), Access::kRead);
  args.clip = kind_named(kClips, "clip", clip);
  return args;
}

void clip(PyProgram& self, py::sequence gradients, py::object norms, const std::string& kind) {
  self.program.record(kernels().clip,
                      update_of(self, py::none(), gradients, {}, norms, kind, Access::kWrite), {});
}

void sgd(PyProgram& self, py::object values, py::sequence gradients, py::object momenta,
         py::object norms, const std::string& clip, double momentum, bool nesterov) {
  Update args = update_of(self, values, gradients, {momenta}, norms, clip, Access::kRead);
  args.a = momentum;
  args.variant = nesterov;
  self.program.record(kernels().sgd, args, {});
}

void adam(PyProgram& self, py::object values, py::sequence gradients, py::sequence slots,
          py::object norms, const std::string& clip, double beta_1, double beta_2, double epsilon,
          bool amsgrad) {
  const std::size_t wanted = amsgrad ? 3 : 2;
  if (py::len(slots) != wanted) {
    throw py::value_error("slots: expected " + std::to_string(wanted) + " lists of arrays, got " +
                          std::to_string(py::len(slots)));
  }
  std::vector<py::object> lists;
  for (const py::handle slot : slots) lists.push_back(py::reinterpret_borrow<py::object>(slot));
  Update args = update_of(self, values, gradients, lists, norms, clip, Access::kRead);
  args.a = beta_1;
  args.b = beta_2;
  args.epsilon = epsilon;
  args.variant = amsgrad;
  self.program.record(kernels().adam, args, {});
}

void rmsprop(PyProgram& self, py::object values, py::sequence gradients, py::object velocities,
             py::object momenta, py::object means, py::object norms, const std::string& clip,
             double rho, double momentum, double epsilon) {
  Update args =
      update_of(self, values, gradients, {velocities, momenta, means}, norms, clip, Access::kRead);
  if (velocities.is_none()) throw py::type_error("velocities: expected a list of arrays, got None");
  args.a = rho;
  args.b = momentum;
  args.epsilon = epsilon;
  self.program.record(kernels().rmsprop, args, {});
}

}  // namespace

void bind_training(py::class_<PyProgram>& program) {
  using namespace py::literals;
  program.def("loss", loss, "kind"_a, "x"_a, "labels"_a, "target"_a, "weight"_a, "dx"_a, "result"_a)
      .def("metric", metric, "kind"_a, "x"_a, "labels"_a, "target"_a, "result"_a)
      .def("gather", gather, "x"_a, "labels"_a, "target"_a, "weight"_a)
      .def("scatter", scatter, "y"_a)
      .def("gradient_norms", gradient_norms, "gradients"_a, "norms"_a)
      .def("clip", clip, "gradients"_a, "norms"_a, "kind"_a)
      .def("sgd", sgd, "values"_a, "gradients"_a, "momenta"_a, "norms"_a, "clip"_a, "momentum"_a,
           "nesterov"_a)
      .def("adam", adam, "values"_a, "gradients"_a, "slots"_a, "norms"_a, "clip"_a, "beta_1"_a,
           "beta_2"_a, "epsilon"_a, "amsgrad"_a)
      .def("rmsprop", rmsprop, "values"_a, "gradients"_a, "velocities"_a, "momenta"_a, "means"_a,
           "norms"_a, "clip"_a, "rho"_a, "momentum"_a, "epsilon"_a);
}

}  // namespace evengrad::bindings
