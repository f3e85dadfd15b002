// What shapes gradients before an update, and values after it: regularizers, clipping that adapts,
// constraints.
#include "updates.h"

namespace evengrad::bindings {

namespace {

const Named<Constraint> kConstraints[] = {
    {"non_negative", Constraint::kNonNegative},
    {"columns", Constraint::kColumns},
    {"rows", Constraint::kRows},
    {"whole", Constraint::kWhole},
};

// The norms of any number of variables with the threshold behind.
double* norms_with_threshold(Arguments& a, const py::object& norms, int64_t* count) {
  const int64_t size = py::isinstance<py::array>(norms)
                           ? py::reinterpret_borrow<py::array>(norms).size()
                           : int64_t{0};
  *count = std::max<int64_t>(size - 1, 1);
  return a.plain<double>(norms, "norms", Access::kWrite, *count + 1);
}

void auto_clip(PyProgram& self, py::object norms, double percentile, py::object history,
               py::object ordered, py::object seen, py::object health) {
  if (!(percentile >= 0.0 && percentile <= 100.0)) {
    throw py::value_error("percentile: expected a number in [0, 100], got " +
                          std::to_string(percentile));
  }
  Arguments a(self);
  AutoClip args{};
  args.norms = norms_with_threshold(a, norms, &args.count);
  args.percentile = percentile;
  args.length = py::isinstance<py::array>(history)
                    ? std::max<int64_t>(py::reinterpret_borrow<py::array>(history).size(), 1)
                    : 1;
  args.history = a.plain<double>(history, "history", Access::kWrite, args.length);
  args.ordered = a.plain<double>(ordered, "ordered", Access::kWrite, args.length);
  args.seen = a.plain<int64_t>(seen, "seen", Access::kWrite, 1);
  args.health = health_of(a, health);
  a.check();
  self.program.record(kernels().auto_clip, args, {a.extents(), true});
}

void z_clip(PyProgram& self, py::object norms, double alpha, double z, int64_t warm_up,
            py::object statistic, py::object seen, py::object health) {
  Arguments a(self);
  ZClip args{};
  args.norms = norms_with_threshold(a, norms, &args.count);
  args.alpha = alpha;
  args.z = z;
  args.warm_up = warm_up;
  args.statistic = a.plain<double>(statistic, "statistic", Access::kWrite, 2);
  args.seen = a.plain<int64_t>(seen, "seen", Access::kWrite, 1);
  args.health = health_of(a, health);
  a.check();
  self.program.record(kernels().z_clip, args, {a.extents(), true});
}

void unit_clip(PyProgram& self, py::object values, py::object gradients, py::object norms,
               py::object lambdas, double epsilon, py::object health) {
  Arguments a(self);
  UnitClip args{};
  const Matrices g = matrices_of(a, gradients, "gradients", Access::kWrite);
  const Matrices w = matrices_of(a, values, "values", Access::kRead);
  check_shapes(g, w, "values");
  args.count = static_cast<int64_t>(g.size());
  args.norms = a.plain<double>(norms, "norms", Access::kWrite, args.count);
  const double* lambda = a.plain<double>(lambdas, "lambdas", Access::kRead, args.count);
  args.epsilon = epsilon;
  args.health = health_of(a, health);
  a.check();
  std::vector<UnitVariable> variables;
  for (std::size_t i = 0; i < g.size(); ++i) {
    const auto array = py::reinterpret_borrow<py::array>(py::object(gradients[py::int_(i)]));
    double* workspace = self.workspace<double>(2 * padded(g[i].columns));
    variables.push_back(
        {w[i], g[i], array.ndim() == 1, lambda[i], workspace, workspace + padded(g[i].columns)});
  }
  args.variables = self.kept(variables);
  self.program.record(kernels().unit_clip, args, {a.extents(), true});
}

void regularize(PyProgram& self, py::object values, py::object gradients, py::object l1,
                py::object l2, int64_t per_sample, py::object result) {
  Arguments a(self);
  Regularize args{};
  const Matrices w = matrices_of(a, values, "values", Access::kRead);
  Matrices g = w;
  args.gradients = !gradients.is_none();
  if (args.gradients) {
    g = matrices_of(a, gradients, "gradients", Access::kWrite);
    check_shapes(w, g, "gradients");
  }
  const auto count = static_cast<int64_t>(w.size());
  const double* sides = a.plain<double>(l1, "l1", Access::kRead, count);
  const double* squares = a.plain<double>(l2, "l2", Access::kRead, count);
  args.l1 = self.kept(std::vector<double>(sides, sides + count));
  args.l2 = self.kept(std::vector<double>(squares, squares + count));
  args.per_sample = per_sample;
  args.result = a.plain<double>(result, "result", Access::kWrite, 1);
  a.check();
  args.variables = chunked(self, g, w, {});
  args.partial = self.workspace<double>(args.variables.starts[count]);
  self.program.record(kernels().regularize, args, {a.extents()});
}

void constrain(PyProgram& self, py::object value, std::string kind, double minimum, double maximum,
               double rate) {
  Arguments a(self);
  Constrain args{};
  args.kind = kind_named(kConstraints, "kind", kind);
  const bool flat =
      py::isinstance<py::array>(value) && py::reinterpret_borrow<py::array>(value).ndim() == 1;
  if (flat) {
    const int64_t n = py::reinterpret_borrow<py::array>(value).shape(0);
    args.w = {a.vector(value, "value", Access::kWrite, n), 1, n, padded(n)};
    if (args.kind == Constraint::kColumns) args.kind = Constraint::kRows;  // its only axis
  } else {
    args.w = a.matrix(value, "value", Access::kWrite, -1, -1);
  }
  args.minimum = minimum;
  args.maximum = maximum;
  args.rate = rate;
  args.partial = self.workspace<double>(args.w.rows);
  self.program.record(kernels().constrain, args, {a.extents()});
}

}  // namespace

void bind_shaping(py::class_<PyProgram>& program) {
  const Parameter health{"health", py::none()};
  define(program, "auto_clip", auto_clip,
         {{"norms"}, {"percentile"}, {"history"}, {"ordered"}, {"seen"}, health});
  define(program, "z_clip", z_clip,
         {{"norms"}, {"alpha"}, {"z"}, {"warm_up"}, {"statistic"}, {"seen"}, health});
  define(program, "unit_clip", unit_clip,
         {{"values"}, {"gradients"}, {"norms"}, {"lambdas"}, {"epsilon"}, health});
  define(program, "regularize", regularize,
         {{"values"}, {"gradients"}, {"l1"}, {"l2"}, {"per_sample"}, {"result"}});
  define(program, "constrain", constrain,
         {{"value"},
          {"kind"},
          {"minimum", py::float_(0.0)},
          {"maximum", py::float_(std::numeric_limits<double>::infinity())},
          {"rate", py::float_(1.0)}});
}

}  // namespace evengrad::bindings
