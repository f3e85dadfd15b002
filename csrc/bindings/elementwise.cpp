// Activations, PReLU, softmax, dropout, reshape.
#include "array_view.h"

namespace evengrad::bindings {

namespace {

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
                          " of at least " + std::to_string(f.parameter_minimum[i]) + ", got " +
                          std::to_string(parameter[i]));
  }
}

Flow pass(const Tensor& reads, const Tensor& writes, double cost) {
  Flow flow;
  flow.reads = reads.data;
  flow.writes = writes.data;
  flow.work = cost * static_cast<double>(reads.per_sample * reads.columns);
  return flow;
}

void activation_forward(PyProgram& self, const std::string& name, py::object x, py::object y,
                        const std::vector<float>& parameters) {
  const Activation& f = activation_named(name);
  const ArrayView x_(self, x, "x", Access::kRead), y_(self, y, "y", Access::kWrite);
  ActivationForward args{};
  args.x = x_.tensor();
  args.y = y_.like(args.x);
  check_apart(y_.borrowed(), {x_.borrowed()}, true);
  fill_parameters(f, parameters, args.parameter);
  self.program.record(f.forward, args, pass(args.x, args.y, 10.0));
}

void activation_backward(PyProgram& self, const std::string& name, py::object x, py::object y,
                         py::object dy, py::object dx, const std::vector<float>& parameters) {
  const Activation& f = activation_named(name);
  const ArrayView y_(self, y, "y", Access::kRead), dy_(self, dy, "dy", Access::kRead);
  const ArrayView dx_(self, dx, "dx", Access::kWrite);
  ActivationBackward args{};
  args.y = y_.tensor();
  args.dy = dy_.like(args.y);
  args.dx = dx_.like(args.y);
  check_apart(dx_.borrowed(), {dy_.borrowed()}, true);
  check_apart(dx_.borrowed(), {y_.borrowed()});
  if (f.needs_input) {
    const ArrayView x_(self, x, "x", Access::kRead);
    args.x = x_.like(args.y);
    check_apart(dx_.borrowed(), {x_.borrowed()});
  }
  fill_parameters(f, parameters, args.parameter);
  self.program.record(f.backward, args, pass(args.dy, args.dx, 4.0));
}

void prelu_forward(PyProgram& self, py::object x, py::object alpha, py::object y) {
  const ArrayView x_(self, x, "x", Access::kRead), y_(self, y, "y", Access::kWrite);
  PReLUForward args{};
  args.x = x_.tensor();
  args.y = y_.like(args.x);
  check_apart(y_.borrowed(), {x_.borrowed()}, true);
  args.alpha = ArrayView(self, alpha, "alpha", Access::kRead).vector(args.x.columns);
  self.program.record(kernels().prelu_forward, args, pass(args.x, args.y, 3.0));
}

void prelu_backward(PyProgram& self, py::object x, py::object alpha, py::object dy,
                    py::object dalpha, py::object dx) {
  const ArrayView x_(self, x, "x", Access::kRead), dy_(self, dy, "dy", Access::kRead);
  PReLUBackward args{};
  args.x = x_.tensor();
  args.dy = dy_.like(args.x);
  args.alpha = ArrayView(self, alpha, "alpha", Access::kRead).vector(args.x.columns);
  args.dalpha =
      optional_output(self, dalpha, "dalpha", args.x.columns, {x_.borrowed(), dy_.borrowed()});
  if (!dx.is_none()) {
    const ArrayView dx_(self, dx, "dx", Access::kWrite);
    args.dx = dx_.like(args.x);
    check_apart(dx_.borrowed(), {dy_.borrowed()}, true);
    check_apart(dx_.borrowed(), {x_.borrowed()});
  }
  args.partial =
      self.workspace<double>(padded(args.x.columns) * self.chunks_at_most(args.x.per_sample));
  self.program.record(kernels().prelu_backward, args, pass(args.dy, args.dx, 6.0));
}

void softmax_forward(PyProgram& self, py::object x, py::object y) {
  const ArrayView x_(self, x, "x", Access::kRead), y_(self, y, "y", Access::kWrite);
  SoftmaxForward args{};
  args.x = x_.tensor();
  args.y = y_.like(args.x);
  check_apart(y_.borrowed(), {x_.borrowed()}, true);
  Flow flow;
  flow.work = 20.0 * static_cast<double>(args.x.per_sample * args.x.columns);
  self.program.record(kernels().softmax_forward, args, flow);
}

void softmax_backward(PyProgram& self, py::object y, py::object dy, py::object dx) {
  const ArrayView y_(self, y, "y", Access::kRead), dy_(self, dy, "dy", Access::kRead);
  const ArrayView dx_(self, dx, "dx", Access::kWrite);
  SoftmaxBackward args{};
  args.y = y_.tensor();
  args.dy = dy_.like(args.y);
  args.dx = dx_.like(args.y);
  check_apart(dx_.borrowed(), {dy_.borrowed()}, true);
  check_apart(dx_.borrowed(), {y_.borrowed()});
  self.program.record(kernels().softmax_backward, args, {});
}

void dropout(PyProgram& self, py::object x, py::object y, double rate, uint32_t layer) {
  if (!(rate >= 0.0 && rate < 1.0)) {
    throw py::value_error("rate: expected a number in [0, 1), got " + std::to_string(rate));
  }
  const ArrayView x_(self, x, "x", Access::kRead), y_(self, y, "y", Access::kWrite);
  Dropout args{};
  args.x = x_.tensor();
  args.y = y_.like(args.x);
  check_apart(y_.borrowed(), {x_.borrowed()}, true);
  args.rate = rate;
  args.layer = layer;
  self.program.record(kernels().dropout, args, pass(args.x, args.y, 20.0));
}

void reshape(PyProgram& self, py::object x, py::object y) {
  const ArrayView x_(self, x, "x", Access::kRead), y_(self, y, "y", Access::kWrite);
  Reshape args{};
  args.x = x_.tensor();
  args.y = y_.tensor();
  const int64_t have = args.x.per_sample * args.x.columns;
  if (have != args.y.per_sample * args.y.columns) {
    refuse("y", "expected " + std::to_string(have) + " numbers a sample, as in x", y);
  }
  check_apart(y_.borrowed(), {x_.borrowed()});
  self.program.record(kernels().reshape, args, {});
}

struct ActivationInfo {
  std::string name, formula;
  bool needs_input;
  py::dict parameters;
};

py::dict activation_table() {
  py::dict table;
  const Kernels& k = kernels();
  for (int i = 0; i < k.activation_count; ++i) {
    const Activation& f = k.activations[i];
    ActivationInfo info{f.name, f.formula, f.needs_input, {}};
    for (int p = 0; p < f.parameters; ++p) {
      info.parameters[f.parameter_name[p]] = f.parameter_default[p];
    }
    table[f.name] = info;
  }
  return table;
}

}  // namespace

void bind_elementwise(py::module_& module, py::class_<PyProgram>& program) {
  using namespace py::literals;
  py::class_<ActivationInfo>(module, "ActivationInfo", "One entry of the activation family.")
      .def_readonly("name", &ActivationInfo::name)
      .def_readonly("formula", &ActivationInfo::formula)
      .def_readonly("needs_input", &ActivationInfo::needs_input)
      .def_readonly("parameters", &ActivationInfo::parameters);
  module.attr("activations") = activation_table();
  program
      .def("activation_forward", activation_forward, "name"_a, "x"_a, "y"_a,
           "parameters"_a = std::vector<float>())
      .def("activation_backward", activation_backward, "name"_a, "x"_a, "y"_a, "dy"_a, "dx"_a,
           "parameters"_a = std::vector<float>())
      .def("prelu_forward", prelu_forward, "x"_a, "alpha"_a, "y"_a)
      .def("prelu_backward", prelu_backward, "x"_a, "alpha"_a, "dy"_a, "dalpha"_a, "dx"_a)
      .def("softmax_forward", softmax_forward, "x"_a, "y"_a)
      .def("softmax_backward", softmax_backward, "y"_a, "dy"_a, "dx"_a)
      .def("dropout", dropout, "x"_a, "y"_a, "rate"_a, "layer"_a)
      .def("reshape", reshape, "x"_a, "y"_a);
}

}  // namespace evengrad::bindings
