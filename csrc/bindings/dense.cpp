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
    args.dx = a.batch_like(dx, "dx", Access::kWrite, args.x);
    const int64_t rows = padded(args.x.per_sample * self.capacity());
    args.dyt = self.workspace<float>(padded(args.w.columns) * rows);
    work += product;
  }
  a.check();
  self.program.record(kernels().dense_backward, args, {a.extents(), false, work});
}

}  // namespace

void bind_dense(py::class_<PyProgram>& program) {
  define(program, "dense_forward", dense_forward, {{"x"}, {"kernel"}, {"bias"}, {"y"}});
  define(program, "dense_backward", dense_backward,
         {{"x"}, {"kernel"}, {"dy"}, {"dkernel"}, {"dbias"}, {"dx"}});
}

}  // namespace evengrad::bindings
