// Dropout of both kinds and normal noise.
#include <cmath>

#include "array_view.h"

namespace evengrad::bindings {

namespace {

constexpr double kWork = 20.0;  // floating-point operations that a draw costs, about

void check_rate(double rate) {
  if (rate >= 0.0 && rate < 1.0) return;
  throw py::value_error("rate: expected a number in [0, 1), got " + std::to_string(rate));
}

template <class Args>
void record(PyProgram& self, KernelOf<Args> kernel, Args& args, const py::object& x,
            const py::object& y) {
  Arguments a(self);
  args.x = a.shared(x, "x", Access::kRead);
  args.y = a.shared_like(y, "y", Access::kWrite, args.x);
  a.check({{"x", "y"}});
  const auto numbers = static_cast<double>(args.x.per_sample * args.x.columns);
  self.program.record(kernel, args, {a.extents(), false, kWork * numbers});
}

void dropout(PyProgram& self, py::object x, py::object y, double rate, uint32_t layer) {
  check_rate(rate);
  Dropout args{};
  args.rate = rate;
  args.scale = static_cast<float>(1.0 / (1.0 - rate));
  args.layer = layer;
  record(self, kernels().dropout, args, x, y);
}

// Klambauer et al. 2017, arXiv:1706.02515: dropped to where SELU saturates, then scaled and shifted
// so that mean 0 and variance 1 stay.
void alpha_dropout(PyProgram& self, py::object x, py::object y, double rate, uint32_t layer,
                   bool gradient) {
  check_rate(rate);
  constexpr double kSaturated = -1.0507009873554804934 * 1.6732632423543772848;
  const double scale = 1.0 / std::sqrt((1.0 - rate) * (1.0 + rate * kSaturated * kSaturated));
  const double shift = -scale * kSaturated * rate;
  Dropout args{};
  args.rate = rate;
  args.scale = static_cast<float>(scale);
  args.layer = layer;
  if (!gradient) {
    args.shift = static_cast<float>(shift);
    args.dropped = static_cast<float>(scale * kSaturated + shift);
  }
  record(self, kernels().dropout, args, x, y);
}

void noise(PyProgram& self, py::object x, py::object y, double added, double multiplied,
           uint32_t layer) {
  Noise args{};
  args.added = static_cast<float>(added);
  args.multiplied = static_cast<float>(multiplied);
  args.layer = layer;
  record(self, kernels().noise, args, x, y);
}

}  // namespace

void bind_random(py::class_<PyProgram>& program) {
  define(program, "dropout", dropout, {{"x"}, {"y"}, {"rate"}, {"layer"}});
  define(program, "alpha_dropout", alpha_dropout,
         {{"x"}, {"y"}, {"rate"}, {"layer"}, {"gradient", py::bool_(false)}});
  define(program, "noise", noise, {{"x"}, {"y"}, {"added"}, {"multiplied"}, {"layer"}});
}

}  // namespace evengrad::bindings
