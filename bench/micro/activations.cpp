// The activation family, from the list that the kernels come with and the formulas that their own
// test holds them against.
#include "../../tests/cpp/expected_functions.h"
#include "harness.h"

namespace evengrad::bench {

namespace {

const expected::Expected* expected_of(const std::string& name) {
  for (const expected::Expected& f : expected::kExpected) {
    if (name == f.name) return &f;
  }
  return nullptr;
}

Array input(Shape shape, Arrays& arrays) { return arrays.random(shape, -7.0f, 7.0f); }

template <class Args>
Args with_defaults(Args args, const Activation& f) {
  for (int p = 0; p < f.parameters; ++p) args.parameter[p] = f.parameter_default[p];
  return args;
}

Work forward(Shape shape, const Activation& f, Arrays& arrays) {
  const Array x = input(shape, arrays), y = arrays.zeros(shape);
  const ActivationForward args{x.tensor(), y.tensor(), {}};
  Work work(f.forward, with_defaults(args, f), shape.rows);
  work.traffic({x}, {y});
  const auto* known = expected_of(f.name);
  work.wrong = [=]() -> std::string {
    if (!known) return "no formula in tests/cpp/expected_functions.h";
    return compare("y", y, [=](int64_t r, int64_t c) { return known->value(x.at(r, c)); });
  };
  return work;
}

Work backward(Shape shape, const Activation& f, Arrays& arrays) {
  const Array x = input(shape, arrays), y = arrays.zeros(shape);
  const Array dy = arrays.random(shape), dx = arrays.zeros(shape);
  const ActivationForward before{x.tensor(), y.tensor(), {}};
  const Work made(f.forward, with_defaults(before, f), shape.rows);
  made.kernel(made.args.get(), made.step, Team{0, 1, nullptr});
  const ActivationBackward args{
      f.needs_input ? x.tensor() : Tensor{}, y.tensor(), dy.tensor(), dx.tensor(), {}};
  Work work(f.backward, with_defaults(args, f), shape.rows);
  work.traffic({f.needs_input ? x : y, dy}, {dx});
  const auto* known = expected_of(f.name);
  work.wrong = [=]() -> std::string {
    if (!known) return "no formula in tests/cpp/expected_functions.h";
    return compare("dx", dx,
                   [=](int64_t r, int64_t c) { return dy.at(r, c) * known->slope(x.at(r, c)); });
  };
  return work;
}

}  // namespace

void add_activations() {
  for (int i = 0; i < kernels().activation_count; ++i) {
    const std::string name = kernels().activations[i].name;
    for (const Shape shape : kElementwise) {
      add(name + "_forward", shape.name(), [=](const Kernels& k, Arrays& arrays) {
        return forward(shape, k.activations[i], arrays);
      });
      add(name + "_backward", shape.name(), [=](const Kernels& k, Arrays& arrays) {
        return backward(shape, k.activations[i], arrays);
      });
    }
  }
}

}  // namespace evengrad::bench
