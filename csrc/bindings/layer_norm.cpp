#include "array_view.h"

namespace evengrad::bindings {

namespace {

// gamma or beta; in place of none the number that leaves things as they are.
const float* vector_or(PyProgram& self, Arguments& a, const py::object& given, const char* name,
                       int64_t columns, float otherwise) {
  if (!given.is_none()) return a.vector(given, name, Access::kRead, columns);
  return self.kept(std::vector<float>(static_cast<std::size_t>(padded(columns)), otherwise));
}

void layer_norm_forward(PyProgram& self, py::object x, py::object gamma, py::object beta,
                        py::object y, py::object mean, py::object inverse, double epsilon) {
  if (!(epsilon > 0.0)) {
    throw py::value_error("epsilon: expected a number above 0, got " + std::to_string(epsilon));
  }
  Arguments a(self);
  LayerNormForward args{};
  args.x = a.batch(x, "x", Access::kRead);
  const int64_t columns = args.x.columns, rows = args.x.per_sample * self.capacity();
  args.gamma = vector_or(self, a, gamma, "gamma", columns, 1.0f);
  args.beta = vector_or(self, a, beta, "beta", columns, 0.0f);
  args.y = a.batch_like(y, "y", Access::kWrite, args.x);
  args.mean = a.plain<double>(mean, "mean", Access::kWrite, rows);
  args.inverse = a.plain<double>(inverse, "inverse", Access::kWrite, rows);
  args.epsilon = epsilon;
  a.check({{"x", "y"}});
  self.program.record(kernels().layer_norm_forward, args,
                      {a.extents(), false, 10.0 * args.x.per_sample * columns});
}

void layer_norm_backward(PyProgram& self, py::object x, py::object gamma, py::object mean,
                         py::object inverse, py::object dy, py::object dgamma, py::object dbeta,
                         py::object dx) {
  Arguments a(self);
  LayerNormBackward args{};
  args.x = a.batch(x, "x", Access::kRead);
  const int64_t columns = args.x.columns, rows = args.x.per_sample * self.capacity();
  args.gamma = vector_or(self, a, gamma, "gamma", columns, 1.0f);
  args.mean = a.plain<double>(mean, "mean", Access::kRead, rows);
  args.inverse = a.plain<double>(inverse, "inverse", Access::kRead, rows);
  args.dy = a.batch_like(dy, "dy", Access::kRead, args.x);
  args.dgamma = a.optional_vector(dgamma, "dgamma", Access::kWrite, columns);
  args.dbeta = a.optional_vector(dbeta, "dbeta", Access::kWrite, columns);
  if (!dx.is_none()) args.dx = a.batch_like(dx, "dx", Access::kWrite, args.x);
  a.check({{"dy", "dx"}});
  if (!args.dgamma && !args.dbeta && !args.dx.data) return;
  args.partial =
      self.workspace<double>(2 * padded(columns) * self.chunks_at_most(args.x.per_sample));
  self.program.record(kernels().layer_norm_backward, args,
                      {a.extents(), false, 16.0 * args.x.per_sample * columns});
}

}  // namespace

void bind_layer_norm(py::class_<PyProgram>& program) {
  define(program, "layer_norm_forward", layer_norm_forward,
         {{"x"}, {"gamma"}, {"beta"}, {"y"}, {"mean"}, {"inverse"}, {"epsilon"}});
  define(program, "layer_norm_backward", layer_norm_backward,
         {{"x"}, {"gamma"}, {"mean"}, {"inverse"}, {"dy"}, {"dgamma"}, {"dbeta"}, {"dx"}});
}

}  // namespace evengrad::bindings
