#include "array_view.h"

namespace evengrad::bindings {

namespace {

void dense_forward(PyProgram& self, py::object x, py::object kernel, py::object bias,
                   py::object y) {
  const ArrayView x_(self, x, "x", Access::kRead), w_(self, kernel, "kernel", Access::kRead);
  const ArrayView y_(self, y, "y", Access::kWrite);
  DenseForward args{};
  args.x = x_.tensor();
  args.w = w_.matrix(args.x.columns, -1);
  args.y = y_.like({nullptr, args.x.per_sample, args.w.columns, 0});
  check_apart(y_.borrowed(), {x_.borrowed(), w_.borrowed()});
  args.bias = optional_input(self, bias, "bias", args.w.columns);
  Flow flow;
  flow.writes = args.y.data;
  flow.work = 2.0 * args.x.per_sample * args.w.rows * args.w.columns;
  self.program.record(kernels().dense_forward, args, flow);
}

void dense_backward(PyProgram& self, py::object x, py::object kernel, py::object dy,
                    py::object dkernel, py::object dbias, py::object dx) {
  const ArrayView x_(self, x, "x", Access::kRead), w_(self, kernel, "kernel", Access::kRead);
  const ArrayView dy_(self, dy, "dy", Access::kRead);
  DenseBackward args{};
  args.x = x_.tensor();
  args.w = w_.matrix(args.x.columns, -1);
  args.dy = dy_.like({nullptr, args.x.per_sample, args.w.columns, 0});
  Flow flow;
  const double product = 2.0 * args.x.per_sample * args.w.rows * args.w.columns;
  if (!dkernel.is_none()) {
    const ArrayView dw_(self, dkernel, "dkernel", Access::kWrite);
    args.dw = dw_.matrix(args.w.rows, args.w.columns);
    check_apart(dw_.borrowed(), {x_.borrowed(), w_.borrowed(), dy_.borrowed()});
    flow.work += product;
  }
  args.db = optional_output(self, dbias, "dbias", args.w.columns,
                            {x_.borrowed(), w_.borrowed(), dy_.borrowed()});
  if (!dx.is_none()) {
    const ArrayView dx_(self, dx, "dx", Access::kWrite);
    args.dx = dx_.like(args.x);
    check_apart(dx_.borrowed(), {x_.borrowed(), w_.borrowed(), dy_.borrowed()});
    args.dyt =
        self.workspace<float>(padded(args.w.columns) * padded(args.x.per_sample * self.capacity()));
    flow.work += product;
  }
  self.program.record(kernels().dense_backward, args, flow);
}

}  // namespace

void bind_dense(py::class_<PyProgram>& program) {
  using namespace py::literals;
  program.def("dense_forward", dense_forward, "x"_a, "kernel"_a, "bias"_a, "y"_a);
  program.def("dense_backward", dense_backward, "x"_a, "kernel"_a, "dy"_a, "dkernel"_a, "dbias"_a,
              "dx"_a);
}

}  // namespace evengrad::bindings
