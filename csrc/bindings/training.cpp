// Data in and out.
#include "array_view.h"

namespace evengrad::bindings {

namespace {

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
  define(program, "gather", gather, {{"x"}, {"labels"}, {"target"}, {"weight"}});
  define(program, "scatter", scatter, {{"y"}});
  define(program, "copy", copy, {{"source"}, {"destination"}});
}

}  // namespace evengrad::bindings
