// Updates whose state is a list of slots, accumulation of gradients, averages of the values.
#include "updates.h"

namespace evengrad::bindings {

namespace {

using Slots = std::vector<py::object>;

// The scalars of an update; a kernel reads those it knows.
struct Scalars {
  double a, b, epsilon;
};

void record_update(PyProgram& self, KernelOf<Update> kernel, std::size_t slot_count,
                   const Scalars& scalars, const py::object& values, const py::object& gradients,
                   const Slots& slots, const py::object& norms, const std::string& clip,
                   const py::object& decays) {
  check_slots(slots, slot_count);
  Arguments a(self);
  Update args = update_of(self, a, &values, gradients, slots, norms, clip, decays);
  args.a = scalars.a;
  args.b = scalars.b;
  args.epsilon = scalars.epsilon;
  self.program.record(kernel, args, {a.extents()});
}

void nadam(PyProgram& self, py::object values, py::object gradients, Slots slots, py::object norms,
           std::string clip, double beta_1, double beta_2, double epsilon, py::object decays) {
  const Scalars scalars{beta_1, beta_2, epsilon};
  record_update(self, kernels().nadam, 2, scalars, values, gradients, slots, norms, clip, decays);
}

void adamax(PyProgram& self, py::object values, py::object gradients, Slots slots, py::object norms,
            std::string clip, double beta_1, double beta_2, double epsilon, py::object decays) {
  const Scalars scalars{beta_1, beta_2, epsilon};
  record_update(self, kernels().adamax, 2, scalars, values, gradients, slots, norms, clip, decays);
}

void adagrad(PyProgram& self, py::object values, py::object gradients, Slots slots,
             py::object norms, std::string clip, double epsilon, py::object decays) {
  const Scalars scalars{0.0, 0.0, epsilon};
  record_update(self, kernels().adagrad, 1, scalars, values, gradients, slots, norms, clip, decays);
}

void adadelta(PyProgram& self, py::object values, py::object gradients, Slots slots,
              py::object norms, std::string clip, double rho, double epsilon, py::object decays) {
  const Scalars scalars{rho, 0.0, epsilon};
  record_update(self, kernels().adadelta, 2, scalars, values, gradients, slots, norms, clip,
                decays);
}

void lion(PyProgram& self, py::object values, py::object gradients, Slots slots, py::object norms,
          std::string clip, double beta_1, double beta_2, py::object decays) {
  const Scalars scalars{beta_1, beta_2, 0.0};
  record_update(self, kernels().lion, 1, scalars, values, gradients, slots, norms, clip, decays);
}

Accumulation accumulation_of(PyProgram& self, Arguments& a, const py::object& gradients,
                             const py::object& accumulators, bool carries) {
  const Access ours = carries ? Access::kWrite : Access::kRead;
  const Access theirs = carries ? Access::kRead : Access::kWrite;
  const Matrices g = matrices_of(a, gradients, "gradients", theirs);
  const Matrices sums = matrices_of(a, accumulators, "accumulators", ours);
  check_shapes(g, sums, "accumulators");
  a.check();
  return {chunked(self, g, {}, {sums})};
}

void accumulate(PyProgram& self, py::object gradients, py::object accumulators, int64_t steps) {
  if (steps < 1) {
    throw py::value_error("steps: expected at least 1, got " + std::to_string(steps));
  }
  Arguments a(self);
  const Accumulation args = accumulation_of(self, a, gradients, accumulators, false);
  self.accumulation = steps;
  self.program.record(kernels().accumulate, args, {a.extents()});
}

void carry(PyProgram& self, py::object gradients, py::object accumulators) {
  Arguments a(self);
  const Accumulation args = accumulation_of(self, a, gradients, accumulators, true);
  self.program.record(kernels().carry, args, {a.extents()});
}

void average(PyProgram& self, py::object values, py::object averages, double momentum,
             int64_t overwrite) {
  if (overwrite < 0) {
    throw py::value_error("overwrite: expected at least 0, got " + std::to_string(overwrite));
  }
  Arguments a(self);
  const Matrices w = matrices_of(a, values, "values", Access::kWrite);
  const Matrices means = matrices_of(a, averages, "averages", Access::kWrite);
  check_shapes(w, means, "averages", "values");
  a.check();
  // Pieces follow the first list; nothing of a gradient is read.
  const Average args{chunked(self, w, w, {means}), momentum, overwrite};
  self.program.record(kernels().average, args, {a.extents()});
}

}  // namespace

void bind_optimizers(py::class_<PyProgram>& program) {
  const Parameter decays{"decays", py::none()};
  const std::vector<Parameter> shared{{"values"}, {"gradients"}, {"slots"}, {"norms"}, {"clip"}};
  const auto with = [&](std::initializer_list<Parameter> own) {
    std::vector<Parameter> all = shared;
    all.insert(all.end(), own);
    all.push_back(decays);
    return all;
  };
  define(program, "nadam", nadam, with({{"beta_1"}, {"beta_2"}, {"epsilon"}}));
  define(program, "adamax", adamax, with({{"beta_1"}, {"beta_2"}, {"epsilon"}}));
  define(program, "adagrad", adagrad, with({{"epsilon"}}));
  define(program, "adadelta", adadelta, with({{"rho"}, {"epsilon"}}));
  define(program, "lion", lion, with({{"beta_1"}, {"beta_2"}}));
  define(program, "accumulate", accumulate, {{"gradients"}, {"accumulators"}, {"steps"}});
  define(program, "carry", carry, {{"gradients"}, {"accumulators"}});
  define(program, "average", average, {{"values"}, {"averages"}, {"momentum"}, {"overwrite"}});
}

}  // namespace evengrad::bindings
