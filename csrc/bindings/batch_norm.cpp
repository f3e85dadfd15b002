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

int64_t batch_norm_forward(PyProgram& self, py::object x, py::object gamma, py::object beta,
                           py::object y, py::object mean, py::object variance, double epsilon,
                           py::object xhat) {
  check_fraction("epsilon", epsilon, true);
  Arguments a(self);
  BatchNormForward args{};
  args.x = a.shared(x, "x", Access::kRead);
  const int64_t columns = args.x.columns, pitch = padded(columns);
  args.gamma = a.optional_vector(gamma, "gamma", Access::kRead, columns);
  args.beta = a.optional_vector(beta, "beta", Access::kRead, columns);
  args.y = a.shared_like(y, "y", Access::kWrite, args.x);
  if (!xhat.is_none()) args.xhat = a.shared_like(xhat, "xhat", Access::kWrite, args.x);
  args.epsilon = epsilon;
  BatchStatistics& s = args.statistics;
  s.mean = a.plain<double>(mean, "mean", Access::kWrite, columns);
  s.variance = a.plain<double>(variance, "variance", Access::kWrite, columns);
  a.check();
  s.center = self.workspace<float>(5 * pitch);
  s.offset = s.center + pitch;
  s.inverse = s.offset + pitch;
  s.scale = s.inverse + pitch;
  s.shift = s.scale + pitch;
  s.partial = self.workspace<double>(2 * pitch * self.chunks_at_most(args.x.per_sample));
  const auto* center = reinterpret_cast<const char*>(s.center);
  const Extent statistics{"statistics", center, center + 5 * pitch * 4, true, false};
  self.batch_norms.push_back({args, {a.extents().front(), statistics}});
  a.add(statistics);
  self.program.record(kernels().batch_norm_forward, args,
                      {a.extents(), false, 10.0 * args.x.per_sample * columns});
  return static_cast<int64_t>(self.batch_norms.size()) - 1;
}

void batch_norm_backward(PyProgram& self, int64_t handle, py::object gamma, py::object dy,
                         py::object dgamma, py::object dbeta, py::object dx) {
  if (handle < 0 || handle >= static_cast<int64_t>(self.batch_norms.size())) {
    throw py::value_error("handle: expected what batch_norm_forward returned, got " +
                          std::to_string(handle));
  }
  const auto& [forward, left] = self.batch_norms[static_cast<std::size_t>(handle)];
  Arguments a(self);
  for (Extent extent : left) {
    extent.written = false;
    a.add(extent);
  }
  BatchNormBackward args{};
  args.x = forward.x;
  args.statistics = forward.statistics;
  const int64_t columns = args.x.columns;
  args.dy = a.shared_like(dy, "dy", Access::kRead, args.x);
  args.gamma = a.optional_vector(gamma, "gamma", Access::kRead, columns);
  args.dgamma = a.optional_vector(dgamma, "dgamma", Access::kWrite, columns);
  args.dbeta = a.optional_vector(dbeta, "dbeta", Access::kWrite, columns);
  args.sums = self.workspace<float>(3 * padded(columns));
  if (!dx.is_none()) args.dx = a.shared_like(dx, "dx", Access::kWrite, args.x);
  a.check({{"dy", "dx"}});
  self.program.record(kernels().batch_norm_backward, args,
                      {a.extents(), false, 12.0 * args.x.per_sample * columns});
}

void batch_norm_moving(PyProgram& self, py::object mean, py::object variance,
                       py::object moving_mean, py::object moving_variance, py::object count,
                       double momentum, bool debias) {
  check_fraction("momentum", momentum, false);
  Arguments a(self);
  BatchNormMoving args{};
  args.columns =
      py::isinstance<py::array>(mean) ? py::reinterpret_borrow<py::array>(mean).size() : 0;
  const int64_t n = args.columns;
  args.mean = a.plain<double>(mean, "mean", Access::kRead, n);
  args.variance = a.plain<double>(variance, "variance", Access::kRead, n);
  args.moving_mean = a.plain<double>(moving_mean, "moving_mean", Access::kWrite, n);
  args.moving_variance = a.plain<double>(moving_variance, "moving_variance", Access::kWrite, n);
  args.count = a.plain<int64_t>(count, "count", Access::kWrite, 1);
  args.momentum = momentum;
  args.debias = debias;
  a.check();
  self.program.record(kernels().batch_norm_moving, args, {a.extents()});
}

void batch_norm_inference(PyProgram& self, py::object x, py::object gamma, py::object beta,
                          py::object moving_mean, py::object moving_variance, py::object y,
                          double epsilon) {
  check_fraction("epsilon", epsilon, true);
  Arguments a(self);
  BatchNormInference args{};
  args.x = a.shared(x, "x", Access::kRead);
  const int64_t columns = args.x.columns;
  args.gamma = a.optional_vector(gamma, "gamma", Access::kRead, columns);
  args.beta = a.optional_vector(beta, "beta", Access::kRead, columns);
  args.moving_mean = a.plain<double>(moving_mean, "moving_mean", Access::kRead, columns);
  args.moving_variance =
      a.plain<double>(moving_variance, "moving_variance", Access::kRead, columns);
  args.y = a.shared_like(y, "y", Access::kWrite, args.x);
  a.check({{"x", "y"}});
  args.workspace = self.workspace<float>(4 * padded(columns));
  args.epsilon = epsilon;
  self.program.record(kernels().batch_norm_inference, args,
                      {a.extents(), false, 4.0 * args.x.per_sample * columns});
}

void batch_norm_frozen_backward(PyProgram& self, py::object gamma, py::object moving_variance,
                                py::object dy, py::object dx, double epsilon) {
  check_fraction("epsilon", epsilon, true);
  Arguments a(self);
  BatchNormFrozenBackward args{};
  args.dy = a.shared(dy, "dy", Access::kRead);
  const int64_t columns = args.dy.columns;
  args.gamma = a.optional_vector(gamma, "gamma", Access::kRead, columns);
  args.moving_variance =
      a.plain<double>(moving_variance, "moving_variance", Access::kRead, columns);
  args.dx = a.shared_like(dx, "dx", Access::kWrite, args.dy);
  a.check({{"dy", "dx"}});
  args.workspace = self.workspace<float>(padded(columns));
  args.epsilon = epsilon;
  self.program.record(kernels().batch_norm_frozen_backward, args,
                      {a.extents(), false, 2.0 * args.dy.per_sample * columns});
}

}  // namespace

void bind_batch_norm(py::class_<PyProgram>& program) {
  define(program, "batch_norm_forward", batch_norm_forward,
         {{"x"},
          {"gamma"},
          {"beta"},
          {"y"},
          {"mean"},
          {"variance"},
          {"epsilon"},
          {"xhat", py::none()}});
  define(program, "batch_norm_backward", batch_norm_backward,
         {{"handle"}, {"gamma"}, {"dy"}, {"dgamma"}, {"dbeta"}, {"dx"}});
  define(program, "batch_norm_moving", batch_norm_moving,
         {{"mean"},
          {"variance"},
          {"moving_mean"},
          {"moving_variance"},
          {"count"},
          {"momentum"},
          {"debias"}});
  define(program, "batch_norm_inference", batch_norm_inference,
         {{"x"}, {"gamma"}, {"beta"}, {"moving_mean"}, {"moving_variance"}, {"y"}, {"epsilon"}});
  define(program, "batch_norm_frozen_backward", batch_norm_frozen_backward,
         {{"gamma"}, {"moving_variance"}, {"dy"}, {"dx"}, {"epsilon"}});
}

}  // namespace evengrad::bindings
