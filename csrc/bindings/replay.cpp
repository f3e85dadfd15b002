// Running a program: on what its arrays hold, or over batches of a data set.
#include "array_view.h"

namespace evengrad::bindings {

namespace {

// A program's buffers serve one replay at a time.
class Running {
 public:
  explicit Running(PyProgram& program) : program_(program) {
    if (program.running.exchange(true)) {
      throw std::runtime_error("Program: already running in another thread");
    }
  }
  ~Running() { program_.running = false; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  PyProgram& program_;
};

int64_t replay(PyProgram& self, const Step& first, const Batches& batches) {
  const Running running(self);
  const py::gil_scoped_release release;
  return self.program.run(first, batches);
}

void run(PyProgram& self, int64_t rows, double learning_rate, int64_t iteration, double clip,
         uint64_t seed) {
  if (rows <= 0 || rows > self.capacity()) {
    throw py::value_error("rows: expected 1 to " + std::to_string(self.capacity()) + ", got " +
                          std::to_string(rows));
  }
  if (self.x_width || self.output_width) {
    throw py::value_error("run: this program gathers or scatters; call run_batches");
  }
  Step step{};
  step.rows = rows;
  step.learning_rate = learning_rate;
  step.iteration = iteration;
  step.clip = clip;
  step.seed = seed;
  replay(self, step, {1, rows, rows, nullptr});
}

// A C-contiguous array of exactly T with `width` numbers in each of its rows.
template <class T>
T* rows_of_source(py::handle object, const char* name, int64_t rows, int64_t width, bool write) {
  if (!py::isinstance<py::array>(object)) refuse(name, "expected a numpy array", object);
  const auto array = py::reinterpret_borrow<py::array>(object);
  const bool fits = array.dtype().equal(py::dtype::of<T>()) &&
                    (array.flags() & py::array::c_style) && array.ndim() >= 1 &&
                    (rows < 0 || array.shape(0) == rows) && array.size() == array.shape(0) * width;
  if (!fits || (write && !array.writeable())) {
    refuse(name,
           "expected " + std::string(write ? "a writeable " : "a ") + "C-contiguous " +
               std::string(py::str(py::dtype::of<T>())) + " array of " +
               (rows < 0 ? "rows" : std::to_string(rows) + " rows") + " of " +
               std::to_string(width) + " numbers",
           object);
  }
  return static_cast<T*>(const_cast<void*>(array.data()));
}

int64_t run_batches(PyProgram& self, py::object x, py::object y, py::object weight,
                    py::object order, py::object output, int64_t first, int64_t steps,
                    py::object learning_rates, int64_t iteration, double clip, uint64_t seed) {
  if (!self.x_width) throw py::value_error("run_batches: this program gathers nothing; call run");
  Step step{};
  step.x = rows_of_source<float>(x, "x", -1, self.x_width, false);
  step.source_rows = py::reinterpret_borrow<py::array>(x).shape(0);
  if (self.labels) step.y = rows_of_source<int32_t>(y, "y", step.source_rows, 1, false);
  if (self.y_width) step.y = rows_of_source<float>(y, "y", step.source_rows, self.y_width, false);
  if (!weight.is_none()) {
    step.weight = rows_of_source<float>(weight, "weight", step.source_rows, 1, false);
  }
  Batches batches{steps, self.capacity(), step.source_rows, nullptr};
  if (!order.is_none()) {
    step.order = rows_of_source<int64_t>(order, "order", -1, 1, false);
    batches.end = py::reinterpret_borrow<py::array>(order).shape(0);
  }
  if (self.output_width) {
    step.output = rows_of_source<float>(output, "output", batches.end, self.output_width, true);
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
    batches.learning_rates =
        rows_of_source<double>(learning_rates, "learning_rates", steps, 1, false);
  }
  step.first = first;
  step.iteration = iteration;
  step.clip = clip;
  step.seed = seed;
  return replay(self, step, batches);
}

py::object failure(const PyProgram& self) {
  const Control& control = self.program.control();
  static const char* const names[] = {"", "gradient", "loss", "label", "index"};
  if (control.failure == Failure::kNone) return py::none();
  return py::make_tuple(names[static_cast<int>(control.failure)], control.where);
}

}  // namespace

void bind_replay(py::class_<PyProgram>& program) {
  using namespace py::literals;
  const double infinity = std::numeric_limits<double>::infinity();
  program
      .def(py::init([](int64_t capacity) {
             if (capacity >= 1 && capacity <= (int64_t{1} << 40)) {
               return std::make_unique<PyProgram>(capacity);
             }
             throw py::value_error("capacity: expected at least 1 row, got " +
                                   std::to_string(capacity));
           }),
           "capacity"_a)
      .def("__len__", [](const PyProgram& self) { return self.program.size(); })
      .def_property_readonly("capacity", &PyProgram::capacity)
      .def_property_readonly("failure", failure)
      .def("run", run, "rows"_a, py::kw_only(), "learning_rate"_a = 0.0, "iteration"_a = 1,
           "clip"_a = infinity, "seed"_a = 0)
      .def("run_batches", run_batches, "x"_a, "y"_a = py::none(), "weight"_a = py::none(),
           "order"_a = py::none(), "output"_a = py::none(), py::kw_only(), "first"_a, "steps"_a,
           "learning_rates"_a = py::none(), "iteration"_a = 1, "clip"_a = infinity, "seed"_a = 0);
}

}  // namespace evengrad::bindings
