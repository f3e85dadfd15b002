// Losses and metrics.
#include "array_view.h"
#include "named.h"

namespace evengrad::bindings {

namespace {

const Named<Reduction> kReductions[] = {
    {"none", Reduction::kNone},
    {"sum", Reduction::kSum},
    {"mean", Reduction::kMean},
    {"sum_over_batch_size", Reduction::kMean},
    {"mean_with_sample_weight", Reduction::kWeightedMean},
};

// The losses, or the metrics, by name.
struct Table {
  const RowFunction* entries;
  int count;

  const RowFunction& named(const std::string& name) const {
    std::string known;
    for (int i = 0; i < count; ++i) {
      if (name == entries[i].name) return entries[i];
      known += (i ? ", " : "") + std::string(entries[i].name);
    }
    throw py::value_error("kind: expected one of " + known + ", got '" + name + "'");
  }
};

// Exactly one of labels (one a sample) and target (as x) says what is right.
Compared compared(PyProgram& self, Arguments& a, const py::object& x, Access access,
                  const py::object& labels, const py::object& target, const py::object& weight) {
  Compared of{};
  of.x = a.batch(x, "x", access);
  if (of.x.columns > kMostColumns) {
    refuse("x", "expected at most " + std::to_string(kMostColumns) + " columns", x);
  }
  if (labels.is_none() == target.is_none()) {
    throw py::value_error("labels, target: expected exactly one of the two");
  }
  if (!target.is_none()) {
    of.target = a.batch_like(target, "target", Access::kRead, of.x);
  } else {
    if (of.x.per_sample != 1) throw py::value_error("labels: expected x with one row a sample");
    of.labels = a.plain<int32_t>(labels, "labels", Access::kRead, self.capacity());
  }
  if (!weight.is_none()) {
    of.weight = a.plain<float>(weight, "weight", Access::kRead, self.capacity());
  }
  return of;
}

void fill_parameters(const RowFunction& f, const std::vector<float>& given, float* parameter) {
  if (static_cast<int>(given.size()) > f.parameters) {
    throw py::value_error(std::string("parameters: ") + f.name + " takes at most " +
                          std::to_string(f.parameters) + ", got " + std::to_string(given.size()));
  }
  for (int i = 0; i < f.parameters; ++i) {
    const auto at = static_cast<std::size_t>(i);
    parameter[i] = at < given.size() ? given[at] : f.parameter_default[i];
  }
}

void record(PyProgram& self, const Arguments& a, const RowFunction& f, LossArgs args) {
  args.partial = self.workspace<double>(self.chunks_at_most(args.of.x.per_sample));
  const double work = 30.0 * static_cast<double>(args.of.x.per_sample * args.of.x.columns);
  self.program.record(f.run, args, {a.extents(), true, work});
}

void loss(PyProgram& self, std::string kind, py::object x, py::object labels, py::object target,
          py::object weight, py::object dx, py::object result, std::vector<float> parameters,
          std::string reduction, py::object each) {
  const RowFunction& f = Table{kernels().losses, kernels().loss_count}.named(kind);
  Arguments a(self);
  LossArgs args{};
  const Access access = f.overwrites ? Access::kWrite : Access::kRead;
  args.of = compared(self, a, x, access, labels, target, weight);
  args.reduction = kind_named(kReductions, "reduction", reduction);
  fill_parameters(f, parameters, args.parameter);
  if (!dx.is_none()) {
    if (args.reduction == Reduction::kNone) {
      throw py::value_error("reduction: expected one that makes a single number to differentiate");
    }
    args.dx = a.batch_like(dx, "dx", Access::kWrite, args.of.x);
  }
  if (!each.is_none()) {
    args.each =
        a.plain<float>(each, "each", Access::kWrite, self.capacity() * args.of.x.per_sample);
  }
  args.result = a.plain<double>(result, "result", Access::kWrite, 2);
  a.check();
  record(self, a, f, args);
}

void metric(PyProgram& self, std::string kind, py::object x, py::object labels, py::object target,
            py::object weight, py::object result, std::vector<float> parameters) {
  const RowFunction& f = Table{kernels().metrics, kernels().metric_count}.named(kind);
  Arguments a(self);
  LossArgs args{};
  args.of = compared(self, a, x, Access::kRead, labels, target, weight);
  fill_parameters(f, parameters, args.parameter);
  args.result = a.plain<double>(result, "result", Access::kWrite, 2);
  a.check();
  record(self, a, f, args);
}

// Ascending numbers, kept as long as the program.
const float* thresholds_of(PyProgram& self, const std::vector<float>& thresholds) {
  if (thresholds.empty()) throw py::value_error("thresholds: expected at least one");
  if (!std::is_sorted(thresholds.begin(), thresholds.end())) {
    throw py::value_error("thresholds: expected ascending numbers");
  }
  return self.kept(thresholds);
}

void confusion(PyProgram& self, py::object x, py::object labels, py::object target,
               py::object weight, std::vector<float> thresholds, py::object result, int64_t top_k,
               int64_t class_id, bool even, bool by_column) {
  Arguments a(self);
  ConfusionArgs args{};
  args.of = compared(self, a, x, Access::kRead, labels, target, weight);
  args.thresholds = thresholds_of(self, thresholds);
  args.count = static_cast<int64_t>(thresholds.size());
  if (top_k < 0) throw py::value_error("top_k: expected 0 or more, got " + std::to_string(top_k));
  if (class_id < -1 || class_id >= args.of.x.columns) {
    throw py::value_error("class_id: expected -1 or a column below " +
                          std::to_string(args.of.x.columns) + ", got " + std::to_string(class_id));
  }
  args.top_k = top_k;
  args.class_id = class_id;
  args.even = even;
  args.by_column = by_column;
  const int64_t size = (by_column ? args.of.x.columns : 1) * 2 * (args.count + 1);
  args.result = a.plain<double>(result, "result", Access::kWrite, size);
  a.check();
  args.partial = self.workspace<double>(kMostParts * size);
  self.program.record(kernels().confusion, args, {a.extents(), true});
}

void column_sums(PyProgram& self, KernelOf<ColumnSumsArgs> kernel, const py::object& x,
                 const py::object& labels, const py::object& target, const py::object& weight,
                 const py::object& result, float threshold) {
  Arguments a(self);
  ColumnSumsArgs args{};
  args.of = compared(self, a, x, Access::kRead, labels, target, weight);
  args.threshold = threshold;
  const int64_t size = 3 * args.of.x.columns + 2;
  args.result = a.plain<double>(result, "result", Access::kWrite, size);
  a.check();
  args.partial = self.workspace<double>(kMostParts * size);
  self.program.record(kernel, args, {a.extents(), true});
}

void f_score_sums(PyProgram& self, py::object x, py::object labels, py::object target,
                  py::object weight, py::object result, float threshold) {
  column_sums(self, kernels().f_score_sums, x, labels, target, weight, result, threshold);
}

void r2_sums(PyProgram& self, py::object x, py::object labels, py::object target, py::object weight,
             py::object result) {
  column_sums(self, kernels().r2_sums, x, labels, target, weight, result, 0.0f);
}

py::dict table(const Table& functions) {
  py::dict d;
  for (int i = 0; i < functions.count; ++i) {
    const RowFunction& f = functions.entries[i];
    d[f.name] = &f;
  }
  return d;
}

py::dict parameters_of(const RowFunction& f) {
  py::dict d;
  for (int i = 0; i < f.parameters; ++i) d[f.parameter_name[i]] = f.parameter_default[i];
  return d;
}

}  // namespace

void bind_losses(py::module_& module, py::class_<PyProgram>& program) {
  py::class_<RowFunction, std::unique_ptr<RowFunction, py::nodelete>>(module, "RowFunction")
      .def_readonly("name", &RowFunction::name)
      .def_readonly("formula", &RowFunction::formula)
      .def_readonly("overwrites", &RowFunction::overwrites)
      .def_property_readonly("parameters", parameters_of);
  module.attr("losses") = table({kernels().losses, kernels().loss_count});
  module.attr("metrics") = table({kernels().metrics, kernels().metric_count});
  const py::object none = py::none();
  define(program, "loss", loss,
         {{"kind"},
          {"x"},
          {"labels"},
          {"target"},
          {"weight"},
          {"dx"},
          {"result"},
          {"parameters", py::tuple()},
          {"reduction", py::str("sum_over_batch_size")},
          {"each", none}});
  define(program, "metric", metric,
         {{"kind"},
          {"x"},
          {"labels"},
          {"target"},
          {"weight"},
          {"result"},
          {"parameters", py::tuple()}});
  define(program, "confusion", confusion,
         {{"x"},
          {"labels"},
          {"target"},
          {"weight"},
          {"thresholds"},
          {"result"},
          {"top_k", py::int_(0)},
          {"class_id", py::int_(-1)},
          {"even", py::bool_(false)},
          {"by_column", py::bool_(false)}});
  define(program, "f_score_sums", f_score_sums,
         {{"x"}, {"labels"}, {"target"}, {"weight"}, {"result"}, {"threshold", py::float_(-1.0)}});
  define(program, "r2_sums", r2_sums, {{"x"}, {"labels"}, {"target"}, {"weight"}, {"result"}});
}

}  // namespace evengrad::bindings
