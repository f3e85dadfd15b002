// Running a program: on what its arrays hold, or over batches of a data set.
#include "sources.h"

namespace evengrad::bindings {

namespace {

// A program's buffers serve one replay at a time.
class Running {
 public:
  explicit Running(PyProgram& program) : program_(program) {
    program.expect_idle();
    program.running = true;
  }
  ~Running() { program_.running = false; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  PyProgram& program_;
};

// Adds the completed steps to `counter`, if any, before Python can hear a signal or an exception.
int64_t replay(PyProgram& self, const Step& first, const Batches& batches, int64_t* counter,
               std::size_t part = 0) {
  if (first.iteration < 1) {
    throw py::value_error("iteration: expected at least 1, got " + std::to_string(first.iteration));
  }
  int64_t completed = 0;
  {
    const Running running(self);
    const py::gil_scoped_release release;
    completed = self.program.run(first, batches, part);
  }
  if (counter) *counter += completed;
  if (self.error) std::rethrow_exception(std::exchange(self.error, nullptr));
  return completed;
}

Failure call_python(PyProgram& self, std::size_t index, int64_t rows) {
  const py::gil_scoped_acquire acquire;
  try {
    return self.calls[index](rows).ptr() == Py_False ? Failure::kLoss : Failure::kNone;
  } catch (...) {
    self.error = std::current_exception();
    return Failure::kCall;
  }
}

void python(PyProgram& self, py::object call) {
  if (!PyCallable_Check(call.ptr())) refuse("call", "expected a function of the rows", call);
  const std::size_t index = self.calls.size();
  self.calls.push_back(std::move(call));
  self.program.record([&self, index](int64_t rows) { return call_python(self, index, rows); });
}

int64_t begin_part(PyProgram& self) { return static_cast<int64_t>(self.program.begin_part()); }

void run(PyProgram& self, int64_t rows, double learning_rate, int64_t iteration, double clip,
         uint64_t seed, int64_t part) {
  if (rows <= 0 || rows > self.capacity()) {
    throw py::value_error("rows: expected 1 to " + std::to_string(self.capacity()) + ", got " +
                          std::to_string(rows));
  }
  if (self.x_width || self.output_width) {
    throw py::value_error("run: this program gathers or scatters; call run_batches");
  }
  const auto parts = static_cast<int64_t>(self.program.parts());
  if (part < 0 || part >= parts) {
    throw py::value_error("part: expected 0 to " + std::to_string(parts - 1) + ", got " +
                          std::to_string(part));
  }
  Step step{};
  step.rows = rows;
  step.learning_rate = learning_rate;
  step.iteration = iteration;
  step.accumulation = self.accumulation;
  step.clip = clip;
  step.seed = seed;
  replay(self, step, {1, rows, rows, nullptr}, nullptr, static_cast<std::size_t>(part));
}

void check_output(const py::object& output, std::initializer_list<py::object> sources) {
  const auto out = py::reinterpret_borrow<py::array>(output);
  for (const py::object& object : sources) {
    if (!py::isinstance<py::array>(object) ||
        !overlap(out, py::reinterpret_borrow<py::array>(object)))
      continue;
    throw py::value_error("output: expected memory of its own, but it overlaps a source");
  }
}

// What targets may be, from a pair of numbers; None: x and they are finite, and where they are
// float32 this has been seen.
Legal legal_from(const py::object& object) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  if (object.is_none()) return {true, -kLargest, kLargest};
  const auto [low, high] = converted<std::pair<float, float>>(object, "legal");
  return {false, low, high};
}

// What a replay over batches reads, in `step`.
void read_sources(const PyProgram& self, const py::object& x, const py::object& y,
                  const py::object& weight, const py::object& legal, Step& step) {
  const Legal targets = legal_from(legal), finite = legal_from(py::none());
  step.x = source_of(x, "x", -1, self.x_width, {targets.trusted, finite.low, finite.high});
  step.source_rows = py::reinterpret_borrow<py::array>(x).shape(0);
  if (self.labels) step.labels = plain_source<int32_t>(y, "y", step.source_rows, 1);
  if (self.target_width) {
    step.target = source_of(y, "y", step.source_rows, self.target_width, targets);
  }
  if (!weight.is_none()) step.weight = plain_source<float>(weight, "weight", step.source_rows, 1);
}

int64_t run_batches(PyProgram& self, py::object x, py::object y, py::object weight,
                    py::object order, py::object output, int64_t first, int64_t steps,
                    py::object learning_rates, py::object counter, double clip, uint64_t seed,
                    py::object legal) {
  if (!self.x_width) throw py::value_error("run_batches: this program gathers nothing; call run");
  Step step{};
  read_sources(self, x, y, weight, legal, step);
  Batches batches{steps, self.capacity(), step.source_rows, nullptr};
  if (!order.is_none()) {
    step.order = plain_source<int64_t>(order, "order", -1, 1);
    batches.end = py::reinterpret_borrow<py::array>(order).shape(0);
  }
  if (self.output_width) {
    step.output = plain_source<float>(output, "output", batches.end, self.output_width, true);
    check_output(output, {x, y, weight});
  }
  const int64_t available =
      first < 0 ? 0 : (batches.end - first + self.capacity() - 1) / self.capacity();
  if (steps < 1 || first < 0 || steps > available) {
    throw py::value_error("steps: expected 1 to " +
                          std::to_string(std::max<int64_t>(available, 0)) + " batches from row " +
                          std::to_string(first) + " of " + std::to_string(batches.end) + ", got " +
                          std::to_string(steps));
  }
  if (!learning_rates.is_none()) {
    batches.learning_rates = plain_source<double>(learning_rates, "learning_rates", steps, 1);
  }
  int64_t* done = nullptr;
  if (!counter.is_none()) done = plain_source<int64_t>(counter, "counter", 1, 1, true);
  if (steps == 1) batches.batch = std::min(batches.batch, batches.end - first);
  step.first = first;
  step.iteration = done ? *done + 1 : 1;
  step.accumulation = self.accumulation;
  step.clip = clip;
  step.seed = seed;
  return replay(self, step, batches, done);
}

py::object failure(const PyProgram& self) {
  const Control& control = self.program.control();
  static const char* const names[] = {"",      "gradient", "loss",  "label",
                                      "index", "call",     "input", "target"};
  if (control.failure == Failure::kNone) return py::none();
  return py::make_tuple(names[static_cast<int>(control.failure)], control.where);
}

}  // namespace

void bind_replay(py::class_<PyProgram>& program) {
  program
      .def(
          py::init([](const py::object& capacity) {
            const auto rows = converted<int64_t>(capacity, "capacity");
            if (rows >= 1 && rows <= (int64_t{1} << 40)) return std::make_unique<PyProgram>(rows);
            throw py::value_error("capacity: expected at least 1 row, got " + std::to_string(rows));
          }),
          py::arg("capacity"))
      .def("__len__", [](const PyProgram& self) { return self.program.size(); })
      .def_property_readonly("capacity", &PyProgram::capacity)
      .def_property_readonly("segments",
                             [](const PyProgram& self) { return self.program.segments(); })
      .def_property_readonly("failure", failure);
  const Parameter rate{"learning_rate", py::float_(0.0)}, iteration{"iteration", py::int_(1)};
  const Parameter clip{"clip", py::float_(std::numeric_limits<double>::infinity())};
  const Parameter seed{"seed", py::int_(0)}, part{"part", py::int_(0)};
  define(program, "python", python, {{"call"}});
  define(program, "begin_part", begin_part, {});
  define(program, "run", run, {{"rows"}, rate, iteration, clip, seed, part});
  define(program, "run_batches", run_batches,
         {{"x"},
          {"y", py::none()},
          {"weight", py::none()},
          {"order", py::none()},
          {"output", py::none()},
          {"first"},
          {"steps"},
          {"learning_rates", py::none()},
          {"counter", py::none()},
          clip,
          seed,
          {"legal", py::none()}});
}

}  // namespace evengrad::bindings
