#include "array_view.h"

namespace evengrad::bindings {

namespace {

void dense_forward(PyProgram& self, py::object x, py::object kernel, py::object bias,
                   py::object y) {
  Arguments a(self);
  DenseForward args{};
  args.x = a.batch(x, "x", Access::kRead);
  args.w = a.matrix(kernel, "kernel", Access::kRead, args.x.columns, -1);
  args.bias = a.optional_vector(bias, "bias", Access::kRead, args.w.columns);
  args.y = a.shared_like(y, "y", Access::kWrite, {nullptr, args.x.per_sample, args.w.columns, 0});
  a.check();
  const double work = 2.0 * args.x.per_sample * args.w.rows * args.w.columns;
  self.program.record(kernels().dense_forward, args, {a.extents(), false, work});
}

void dense_backward(PyProgram& self, py::object x, py::object kernel, py::object dy,
                    py::object dkernel, py::object dbias, py::object dx) {
  Arguments a(self);
  DenseBackward args{};
  args.x = a.batch(x, "x", Access::kRead);
  args.w = a.matrix(kernel, "kernel", Access::kRead, args.x.columns, -1);
  args.dy = a.batch_like(dy, "dy", Access::kRead, {nullptr, args.x.per_sample, args.w.columns, 0});
  args.db = a.optional_vector(dbias, "dbias", Access::kWrite, args.w.columns);
  const double product = 2.0 * args.x.per_sample * args.w.rows * args.w.columns;
  double work = 0.0;
  if (!dkernel.is_none()) {
    args.dw = a.matrix(dkernel, "dkernel", Access::kWrite, args.w.rows, args.w.columns);
    work += product;
  }
  if (!dx.is_none()) {
    args.dx = a.shared_like(dx, "dx", Access::kWrite, args.x);
    const int64_t rows = padded(args.x.per_sample * self.capacity()) + kPitchFloats;
    args.dyt = self.workspace<float>(padded(args.w.columns) * rows);
    work += product;
  }
  a.check();
  self.program.record(kernels().dense_backward, args, {a.extents(), false, work});
}

// The backward of a dense layer on a batch normalization that took no gradient from its input.
void dense_backward_folded(PyProgram& self, py::object x, py::object kernel, py::object dy,
                           py::object dkernel, py::object dbias, py::object xhat, py::object gamma,
                           py::object beta, py::object dgamma, py::object dbeta) {
  Arguments a(self);
  DenseBackward args{};
  args.x = a.batch(x, "x", Access::kRead);
  const int64_t n_in = args.x.columns;
  args.w = a.matrix(kernel, "kernel", Access::kRead, n_in, -1);
  args.dy = a.batch_like(dy, "dy", Access::kRead, {nullptr, args.x.per_sample, args.w.columns, 0});
  args.dw = a.matrix(dkernel, "dkernel", Access::kWrite, n_in, args.w.columns);
  args.db = a.optional_vector(dbias, "dbias", Access::kWrite, args.w.columns);
  FoldedNormalization& f = args.folded;
  f.xhat = a.batch_like(xhat, "xhat", Access::kRead, args.x);
  f.gamma = a.optional_vector(gamma, "gamma", Access::kRead, n_in);
  f.beta = a.optional_vector(beta, "beta", Access::kRead, n_in);
  f.dgamma = a.optional_vector(dgamma, "dgamma", Access::kWrite, n_in);
  f.dbeta = a.optional_vector(dbeta, "dbeta", Access::kWrite, n_in);
  a.check();
  f.sums = self.workspace<float>(padded(args.w.columns));
  const double work = 2.0 * args.x.per_sample * n_in * args.w.columns;
  self.program.record(kernels().dense_backward, args, {a.extents(), false, work});
}

}  // namespace

void bind_dense(py::class_<PyProgram>& program) {
  define(program, "dense_forward", dense_forward, {{"x"}, {"kernel"}, {"bias"}, {"y"}});
  define(program, "dense_backward", dense_backward,
         {{"x"}, {"kernel"}, {"dy"}, {"dkernel"}, {"dbias"}, {"dx"}});
  define(program, "dense_backward_folded", dense_backward_folded,
         {{"x"},
          {"kernel"},
          {"dy"},
          {"dkernel"},
          {"dbias"},
          {"xhat"},
          {"gamma"},
          {"beta"},
          {"dgamma"},
          {"dbeta"}});
}

}  // namespace evengrad::bindings
