// Activations, PReLU, softmax, reshape, affine, add.
#include "elementwise.h"

#include "named.h"

namespace evengrad::bindings {

namespace {

std::string text(float number) { return py::str(py::float_(double{number})); }

}  // namespace

const Activation& activation_named(const std::string& name) {
  const Kernels& k = kernels();
  for (int i = 0; i < k.activation_count; ++i) {
    if (name == k.activations[i].name) return k.activations[i];
  }
  throw py::value_error("activation: expected a name in evengrad._core.activations, got '" + name +
                        "'");
}

void fill_parameters(const Activation& f, const std::vector<float>& given, float* parameter) {
  if (static_cast<int>(given.size()) > f.parameters) {
    throw py::value_error(std::string("parameters: ") + f.name + " takes at most " +
                          std::to_string(f.parameters) + ", got " + std::to_string(given.size()));
  }
  for (int i = 0; i < f.parameters; ++i) {
    const bool has = i < static_cast<int>(given.size());
    parameter[i] = has ? given[static_cast<std::size_t>(i)] : f.parameter_default[i];
    if (parameter[i] >= f.parameter_minimum[i]) continue;
    throw py::value_error(std::string(f.name) + ": expected " + f.parameter_name[i] +
                          " of at least " + text(f.parameter_minimum[i]) + ", got " +
                          text(parameter[i]));
  }
}

namespace {

double work_of(const Tensor& t, double each) {
  return each * static_cast<double>(t.per_sample * t.columns);
}

void activation_forward(PyProgram& self, std::string name, py::object x, py::object y,
                        std::vector<float> parameters) {
  const Activation& f = activation_named(name);
  Arguments a(self);
  ActivationForward args{};
  args.x = a.shared(x, "x", Access::kRead);
  args.y = a.shared_like(y, "y", Access::kWrite, args.x);
  a.check({{"x", "y"}});
  fill_parameters(f, parameters, args.parameter);
  self.program.record(f.forward, args, {a.extents(), false, work_of(args.x, 10.0)});
}

void activation_backward(PyProgram& self, std::string name, py::object x, py::object y,
                         py::object dy, py::object dx, std::vector<float> parameters) {
  const Activation& f = activation_named(name);
  Arguments a(self);
  ActivationBackward args{};
  args.y = a.shared(y, "y", Access::kRead);
  args.dy = a.shared_like(dy, "dy", Access::kRead, args.y);
  args.dx = a.shared_like(dx, "dx", Access::kWrite, args.y);
  if (f.needs_input) args.x = a.shared_like(x, "x", Access::kRead, args.y);
  a.check({{"dy", "dx"}});
  fill_parameters(f, parameters, args.parameter);
  self.program.record(f.backward, args, {a.extents(), false, work_of(args.dy, 4.0)});
}

void prelu_forward(PyProgram& self, py::object x, py::object alpha, py::object y) {
  Arguments a(self);
  PReLUForward args{};
  args.x = a.shared(x, "x", Access::kRead);
  args.alpha = a.vector(alpha, "alpha", Access::kRead, args.x.columns);
  args.y = a.shared_like(y, "y", Access::kWrite, args.x);
  a.check({{"x", "y"}});
  self.program.record(kernels().prelu_forward, args, {a.extents(), false, work_of(args.x, 3.0)});
}

void prelu_backward(PyProgram& self, py::object x, py::object alpha, py::object dy,
                    py::object dalpha, py::object dx) {
  Arguments a(self);
  PReLUBackward args{};
  args.x = a.shared(x, "x", Access::kRead);
  args.dy = a.shared_like(dy, "dy", Access::kRead, args.x);
  args.alpha = a.vector(alpha, "alpha", Access::kRead, args.x.columns);
  args.dalpha = a.optional_vector(dalpha, "dalpha", Access::kWrite, args.x.columns);
  if (!dx.is_none()) args.dx = a.shared_like(dx, "dx", Access::kWrite, args.x);
  a.check({{"dy", "dx"}});
  args.partial =
      self.workspace<double>(padded(args.x.columns) * self.chunks_at_most(args.x.per_sample));
  self.program.record(kernels().prelu_backward, args, {a.extents(), false, work_of(args.x, 6.0)});
}

void record_softmax(PyProgram& self, KernelOf<SoftmaxForward> kernel, py::object x, py::object y) {
  Arguments a(self);
  SoftmaxForward args{};
  args.x = a.batch(x, "x", Access::kRead);
  args.y = a.batch_like(y, "y", Access::kWrite, args.x);
  a.check({{"x", "y"}});
  self.program.record(kernel, args, {a.extents(), false, work_of(args.x, 20.0)});
}

void record_softmax_backward(PyProgram& self, KernelOf<SoftmaxBackward> kernel, double work,
                             py::object y, py::object dy, py::object dx) {
  Arguments a(self);
  SoftmaxBackward args{};
  args.y = a.batch(y, "y", Access::kRead);
  args.dy = a.batch_like(dy, "dy", Access::kRead, args.y);
  args.dx = a.batch_like(dx, "dx", Access::kWrite, args.y);
  a.check({{"dy", "dx"}});
  self.program.record(kernel, args, {a.extents(), false, work_of(args.y, work)});
}

void softmax_forward(PyProgram& self, py::object x, py::object y) {
  record_softmax(self, kernels().softmax_forward, x, y);
}

void softmax_backward(PyProgram& self, py::object y, py::object dy, py::object dx) {
  record_softmax_backward(self, kernels().softmax_backward, 4.0, y, dy, dx);
}

void log_softmax_forward(PyProgram& self, py::object x, py::object y) {
  record_softmax(self, kernels().log_softmax_forward, x, y);
}

void log_softmax_backward(PyProgram& self, py::object y, py::object dy, py::object dx) {
  record_softmax_backward(self, kernels().log_softmax_backward, 25.0, y, dy, dx);
}

void reshape(PyProgram& self, py::object x, py::object y) {
  Arguments a(self);
  Reshape args{};
  args.x = a.batch(x, "x", Access::kRead);
  args.y = a.batch(y, "y", Access::kWrite);
  const int64_t have = args.x.per_sample * args.x.columns;
  if (have != args.y.per_sample * args.y.columns) {
    refuse("y", "expected " + std::to_string(have) + " numbers a sample, as in x", y);
  }
  a.check();
  self.program.record(kernels().reshape, args, {a.extents(), false, work_of(args.x, 4.0)});
}

void add(PyProgram& self, py::object a_, py::object b, py::object y) {
  Arguments a(self);
  Add args{};
  args.a = a.shared(a_, "a", Access::kRead);
  args.b = a.shared_like(b, "b", Access::kRead, args.a);
  args.y = a.shared_like(y, "y", Access::kWrite, args.a);
  a.check({{"a", "y"}, {"b", "y"}});
  self.program.record(kernels().add, args, {a.extents(), false, work_of(args.a, 1.0)});
}

constexpr Named<AffineKind> kAffineKinds[] = {{"normalize", AffineKind::kNormalize},
                                              {"denormalize", AffineKind::kDenormalize},
                                              {"scale", AffineKind::kScale}};

void affine(PyProgram& self, std::string kind, py::object x, py::object center, py::object spread,
            py::object y, bool gradient) {
  Arguments a(self);
  Affine args{};
  args.kind = kind_named(kAffineKinds, "kind", kind);
  args.x = a.shared(x, "x", Access::kRead);
  args.center = a.plain<double>(center, "center", Access::kRead, args.x.columns);
  args.spread = a.plain<double>(spread, "spread", Access::kRead, args.x.columns);
  args.y = a.shared_like(y, "y", Access::kWrite, args.x);
  args.gradient = gradient;
  a.check({{"x", "y"}});
  args.workspace = self.workspace<float>(4 * padded(args.x.columns));
  self.program.record(kernels().affine, args, {a.extents(), false, work_of(args.x, 4.0)});
}

struct ActivationInfo {
  std::string name, formula;
  bool needs_input;
  py::dict parameters, minimums;
};

py::dict activation_table() {
  py::dict table;
  const Kernels& k = kernels();
  for (int i = 0; i < k.activation_count; ++i) {
    const Activation& f = k.activations[i];
    ActivationInfo info{f.name, f.formula, f.needs_input, {}, {}};
    for (int p = 0; p < f.parameters; ++p) {
      info.parameters[f.parameter_name[p]] = f.parameter_default[p];
      info.minimums[f.parameter_name[p]] = f.parameter_minimum[p];
    }
    table[f.name] = info;
  }
  return table;
}

}  // namespace

void bind_elementwise(py::module_& module, py::class_<PyProgram>& program) {
  py::class_<ActivationInfo>(module, "ActivationInfo", "One entry of the activation family.")
      .def_readonly("name", &ActivationInfo::name)
      .def_readonly("formula", &ActivationInfo::formula)
      .def_readonly("needs_input", &ActivationInfo::needs_input)
      .def_readonly("parameters", &ActivationInfo::parameters)
      .def_readonly("minimums", &ActivationInfo::minimums);
  module.attr("activations") = activation_table();
  const py::object none_given = py::tuple();
  define(program, "activation_forward", activation_forward,
         {{"name"}, {"x"}, {"y"}, {"parameters", none_given}});
  define(program, "activation_backward", activation_backward,
         {{"name"}, {"x"}, {"y"}, {"dy"}, {"dx"}, {"parameters", none_given}});
  define(program, "prelu_forward", prelu_forward, {{"x"}, {"alpha"}, {"y"}});
  define(program, "prelu_backward", prelu_backward, {{"x"}, {"alpha"}, {"dy"}, {"dalpha"}, {"dx"}});
  define(program, "softmax_forward", softmax_forward, {{"x"}, {"y"}});
  define(program, "softmax_backward", softmax_backward, {{"y"}, {"dy"}, {"dx"}});
  define(program, "log_softmax_forward", log_softmax_forward, {{"x"}, {"y"}});
  define(program, "log_softmax_backward", log_softmax_backward, {{"y"}, {"dy"}, {"dx"}});
  define(program, "add", add, {{"a"}, {"b"}, {"y"}});
  define(program, "affine", affine,
         {{"kind"}, {"x"}, {"center"}, {"spread"}, {"y"}, {"gradient", py::bool_(false)}});
  define(program, "reshape", reshape, {{"x"}, {"y"}});
}

}  // namespace evengrad::bindings
