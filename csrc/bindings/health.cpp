// What watches a training from within.
#include "elementwise.h"
#include "updates.h"

namespace evengrad::bindings {

namespace {

Series series_of(Arguments& a, const py::object& rows, const char* name, int64_t width,
                 int64_t* state) {
  const int64_t size =
      py::isinstance<py::array>(rows) ? py::reinterpret_borrow<py::array>(rows).size() : int64_t{0};
  const int64_t capacity = size / width;
  if (capacity < 2 || capacity % 2 != 0 || capacity * width != size) {
    throw py::value_error(std::string(name) + ": expected an even number of rows of " +
                          std::to_string(width) + " numbers, got " + std::to_string(size) +
                          " numbers");
  }
  return {a.plain<double>(rows, name, Access::kWrite, size), capacity, width, state};
}

// (activation or None, its parameters, x or None, y, slopes below which a unit is saturated, alive)
Looked looked_of(PyProgram& self, Arguments& a, const py::handle& given) {
  if (!py::isinstance<py::tuple>(given) || py::len(given) != 6) {
    refuse("outputs", "expected tuples of 6", given);
  }
  const auto of = py::reinterpret_borrow<py::tuple>(given);
  Looked looked{};
  looked.y = a.batch(of[3], "y", Access::kRead);
  looked.alive = a.vector(of[5], "alive", Access::kWrite, looked.y.columns);
  if (of[0].is_none()) return looked;
  const Activation& f = activation_named(converted<std::string>(of[0], "activation"));
  const int64_t width = padded(looked.y.columns);
  looked.slope = f.backward;
  looked.flat = converted<float>(of[4], "flat");
  looked.of.y = looked.y;
  looked.of.y.per_sample = 1;
  if (f.needs_input) looked.of.x = a.batch_like(of[2], "x", Access::kRead, looked.y);
  looked.of.x.per_sample = 1;
  looked.of.dy = {nullptr, 1, looked.y.columns, width};  // ones, once the widest is known
  looked.of.dx = {self.workspace<float>(width), 1, looked.y.columns, width};
  fill_parameters(f, converted<std::vector<float>>(of[1], "parameters"), looked.of.parameter);
  return looked;
}

// How many steps pass from a look to the next, so that looks take less than a hundredth of the
// time; what both take is roughly known beforehand.
int64_t pause_of(const PyProgram& self, const std::vector<Looked>& outputs) {
  constexpr double kNsARow = 40.0, kNsAnElement = 0.4, kOperationsANs = 200.0, kShare = 0.004;
  constexpr int64_t kLeast = 8, kMost = 1024;
  double look = 0.0;
  for (const Looked& output : outputs) {
    const int64_t rows = std::min(kLookedRows, output.y.per_sample * self.capacity());
    look += static_cast<double>(rows) *
            (kNsARow + kNsAnElement * static_cast<double>(output.y.columns));
  }
  const double step = self.program.work() * static_cast<double>(self.capacity()) / kOperationsANs;
  const double pause = look / (kShare * (step + 1.0));
  return pause < static_cast<double>(kMost) ? std::max(kLeast, static_cast<int64_t>(pause)) : kMost;
}

int64_t watch(PyProgram& self, py::object norms, py::object totals, py::object before,
              py::object sums, py::object steps, py::object looks, py::object state,
              py::object known, std::vector<py::object> outputs) {
  const ChunkedVariables& variables = self.update.variables;
  const bool moved = self.update.moved;
  Arguments a(self);
  Health args{};
  args.variables = py::isinstance<py::array>(norms)
                       ? std::max<int64_t>(py::reinterpret_borrow<py::array>(norms).size(), 1)
                       : 1;
  args.norms = a.plain<double>(norms, "norms", Access::kRead, args.variables);
  args.totals = a.plain<double>(totals, "totals", Access::kRead, 2);
  args.before = a.plain<double>(before, "before", Access::kRead, 2);
  args.sums = a.plain<double>(sums, "sums", Access::kRead, kHealthSums);
  args.known = a.plain<double>(known, "known", Access::kWrite, 2);
  auto* numbers = a.plain<int64_t>(state, "state", Access::kWrite, 5);
  args.steps = series_of(a, steps, "steps", 2 + 3 * args.variables, numbers);
  args.output_count = static_cast<int64_t>(outputs.size());
  args.looks = series_of(a, looks, "looks", 1 + 4 * args.output_count, numbers + 2);
  args.origin = numbers + 4;
  std::vector<Looked> looked;
  int64_t widest = 1;
  for (const py::object& output : outputs) {
    looked.push_back(looked_of(self, a, output));
    widest = std::max(widest, looked.back().y.columns);
  }
  auto* ones = self.workspace<float>(padded(widest));
  std::fill(ones, ones + padded(widest), 1.0f);
  for (Looked& output : looked) output.of.dy.data = ones;
  a.check();
  if (moved && args.variables != variables.count) {
    throw py::value_error("norms: expected one of each of the " + std::to_string(variables.count) +
                          " variables that are updated, got " + std::to_string(args.variables));
  }
  if (moved) {
    args.moved = self.update.moved;
    args.starts = variables.starts;
    a.add(extent_of_moved(self.update, Access::kRead));
  }
  args.outputs = self.kept(looked);
  args.every = pause_of(self, looked);
  self.program.record(kernels().watch, args, {a.extents()});
  return args.every;
}

}  // namespace

void bind_health(py::class_<PyProgram>& program) {
  define(program, "watch", watch,
         {{"norms"},
          {"totals"},
          {"before"},
          {"sums"},
          {"steps"},
          {"looks"},
          {"state"},
          {"known"},
          {"outputs"}});
}

}  // namespace evengrad::bindings
