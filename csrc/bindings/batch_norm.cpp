#include "array_view.h"

namespace evengrad::bindings {

namespace {

void check_fraction(const char* name, double value, bool positive) {
  const bool fits = positive ? value > 0.0 : value >= 0.0 && value <= 1.0;
  if (fits) return;
  throw py::value_error(
      std::string(name) +
      (positive ? ": expected a number above 0, got " : ": expected a number in [0, 1], got ") +
      std::to_string(value));
}

int batch_norm_forward(PyProgram& self, py::object x, py::object gamma, py::object beta,
                       py::object y, py::object mean, py::object variance, double epsilon) {
  check_fraction("epsilon", epsilon, true);
  const ArrayView x_(self, x, "x", Access::kRead), y_(self, y, "y", Access::kWrite);
  BatchNormForward args{};
  args.x = x_.tensor();
  args.y = y_.like(args.x);
  check_apart(y_.borrowed(), {x_.borrowed()});
  const int64_t columns = args.x.columns, pitch = padded(columns);
  args.gamma = optional_input(self, gamma, "gamma", columns);
  args.beta = optional_input(self, beta, "beta", columns);
  args.epsilon = epsilon;
  BatchStatistics& s = args.statistics;
  s.mean = ArrayView(self, mean, "mean", Access::kWrite).plain<double>(columns);
  s.variance = ArrayView(self, variance, "variance", Access::kWrite).plain<double>(columns);
  s.center = self.workspace<float>(3 * pitch);
  s.offset = s.center + pitch;
  s.inverse = s.offset + pitch;
  s.partial = self.workspace<double>(2 * pitch * self.chunks_at_most(args.x.per_sample));
  Flow flow;
  flow.reads = args.x.data;
  flow.writes = args.y.data;
  flow.work = 10.0 * args.x.per_sample * columns;
  self.program.record(kernels().batch_norm_forward, args, flow);
  self.batch_norms.push_back(args);
  return static_cast<int>(self.batch_norms.size()) - 1;
}

void batch_norm_backward(PyProgram& self, int handle, py::object gamma, py::object dy,
                         py::object dgamma, py::object dbeta, py::object dx) {
  if (handle < 0 || handle >= static_cast<int>(self.batch_norms.size())) {
    throw py::value_error("handle: expected what batch_norm_forward returned, got " +
                          std::to_string(handle));
  }
  const BatchNormForward& forward = self.batch_norms[static_cast<std::size_t>(handle)];
  const ArrayView dy_(self, dy, "dy", Access::kRead);
  BatchNormBackward args{};
  args.x = forward.x;
  args.statistics = forward.statistics;
  args.dy = dy_.like(args.x);
  const int64_t columns = args.x.columns;
  args.gamma = optional_input(self, gamma, "gamma", columns);
  args.dgamma = optional_output(self, dgamma, "dgamma", columns, {dy_.borrowed()});
  args.dbeta = optional_output(self, dbeta, "dbeta", columns, {dy_.borrowed()});
  args.sums = self.workspace<float>(2 * padded(columns));
  Flow flow;
  flow.reads = args.dy.data;
  if (!dx.is_none()) {
    const ArrayView dx_(self, dx, "dx", Access::kWrite);
    args.dx = dx_.like(args.x);
    const auto* x_begin = reinterpret_cast<const char*>(args.x.data);
    const int64_t x_rows = args.x.per_sample * self.capacity();
    check_apart(dx_.borrowed(), {dy_.borrowed()}, true);
    check_apart(dx_.borrowed(),
                {{"x", x_begin, x_begin + (x_rows - 1) * args.x.pitch * 4 + padded(columns) * 4}});
    flow.writes = args.dx.data;
  }
  flow.work = 12.0 * args.x.per_sample * columns;
  self.program.record(kernels().batch_norm_backward, args, flow);
}

void batch_norm_moving(PyProgram& self, py::object mean, py::object variance,
                       py::object moving_mean, py::object moving_variance, py::object count,
                       double momentum, bool debias) {
  check_fraction("momentum", momentum, false);
  BatchNormMoving args{};
  args.columns = py::isinstance<py::array>(mean) ? py::len(mean) : 0;
  args.mean = ArrayView(self, mean, "mean", Access::kRead).plain<double>(args.columns);
  args.variance = ArrayView(self, variance, "variance", Access::kRead).plain<double>(args.columns);
  args.moving_mean =
      ArrayView(self, moving_mean, "moving_mean", Access::kWrite).plain<double>(args.columns);
  args.moving_variance = ArrayView(self, moving_variance, "moving_variance", Access::kWrite)
                             .plain<double>(args.columns);
  args.count = ArrayView(self, count, "count", Access::kWrite).plain<int64_t>(1);
  args.momentum = momentum;
  args.debias = debias;
  self.program.record(kernels().batch_norm_moving, args, {});
}

void batch_norm_inference(PyProgram& self, py::object x, py::object gamma, py::object beta,
                          py::object moving_mean, py::object moving_variance, py::object y,
                          double epsilon) {
  check_fraction("epsilon", epsilon, true);
  const ArrayView x_(self, x, "x", Access::kRead), y_(self, y, "y", Access::kWrite);
  BatchNormInference args{};
  args.x = x_.tensor();
  args.y = y_.like(args.x);
  check_apart(y_.borrowed(), {x_.borrowed()}, true);
  const int64_t columns = args.x.columns;
  args.gamma = optional_input(self, gamma, "gamma", columns);
  args.beta = optional_input(self, beta, "beta", columns);
  args.moving_mean =
      ArrayView(self, moving_mean, "moving_mean", Access::kRead).plain<double>(columns);
  args.moving_variance =
      ArrayView(self, moving_variance, "moving_variance", Access::kRead).plain<double>(columns);
  args.workspace = self.workspace<float>(4 * padded(columns));
  args.epsilon = epsilon;
  Flow flow;
  flow.reads = args.x.data;
  flow.writes = args.y.data;
  flow.work = 4.0 * args.x.per_sample * columns;
  self.program.record(kernels().batch_norm_inference, args, flow);
}

void batch_norm_frozen_backward(PyProgram& self, py::object gamma, py::object moving_variance,
                                py::object dy, py::object dx, double epsilon) {
  check_fraction("epsilon", epsilon, true);
  const ArrayView dy_(self, dy, "dy", Access::kRead), dx_(self, dx, "dx", Access::kWrite);
  BatchNormFrozenBackward args{};
  args.dy = dy_.tensor();
  args.dx = dx_.like(args.dy);
  check_apart(dx_.borrowed(), {dy_.borrowed()}, true);
  const int64_t columns = args.dy.columns;
  args.gamma = optional_input(self, gamma, "gamma", columns);
  args.moving_variance =
      ArrayView(self, moving_variance, "moving_variance", Access::kRead).plain<double>(columns);
  args.workspace = self.workspace<float>(padded(columns));
  args.epsilon = epsilon;
  Flow flow;
  flow.reads = args.dy.data;
  flow.writes = args.dx.data;
  flow.work = 2.0 * args.dy.per_sample * columns;
  self.program.record(kernels().batch_norm_frozen_backward, args, flow);
}

}  // namespace

void bind_batch_norm(py::class_<PyProgram>& program) {
  using namespace py::literals;
  program.def("batch_norm_forward", batch_norm_forward, "x"_a, "gamma"_a, "beta"_a, "y"_a, "mean"_a,
              "variance"_a, "epsilon"_a);
  program.def("batch_norm_backward", batch_norm_backward, "handle"_a, "gamma"_a, "dy"_a, "dgamma"_a,
              "dbeta"_a, "dx"_a);
  program.def("batch_norm_moving", batch_norm_moving, "mean"_a, "variance"_a, "moving_mean"_a,
              "moving_variance"_a, "count"_a, "momentum"_a, "debias"_a);
  program.def("batch_norm_inference", batch_norm_inference, "x"_a, "gamma"_a, "beta"_a,
              "moving_mean"_a, "moving_variance"_a, "y"_a, "epsilon"_a);
  program.def("batch_norm_frozen_backward", batch_norm_frozen_backward, "gamma"_a,
              "moving_variance"_a, "dy"_a, "dx"_a, "epsilon"_a);
}

}  // namespace evengrad::bindings
