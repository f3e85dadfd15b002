// Layer normalization, and what shifts, scales or adds: row by row or element by element.
#include <cmath>

#include "../../csrc/parallel.h"
#include "harness.h"

namespace evengrad::bench {

namespace {

constexpr double kEpsilon = 1e-3;

double mean_of_row(const Array& a, const Formula& value, int64_t r) {
  double sum = 0.0;
  for (int64_t c = 0; c < a.columns; ++c) sum += value(r, c);
  return sum / static_cast<double>(a.columns);
}

struct Moments {
  Moments(const Array& x, int64_t r) {
    const Formula value = [&](int64_t row, int64_t c) { return double{x.at(row, c)}; };
    mean = mean_of_row(x, value, r);
    const Formula square = [&](int64_t row, int64_t c) { return std::pow(x.at(row, c) - mean, 2); };
    inverse = 1.0 / std::sqrt(mean_of_row(x, square, r) + kEpsilon);
  }
  double normalized(const Array& x, int64_t r, int64_t c) const {
    return (x.at(r, c) - mean) * inverse;
  }
  double mean, inverse;
};

Work forward(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random(shape), y = arrays.zeros(shape);
  const Array gamma = arrays.random({1, shape.columns}), beta = arrays.random({1, shape.columns});
  auto *mean = arrays.of<double>(shape.rows), *inverse = arrays.of<double>(shape.rows);
  const LayerNormForward args{x.tensor(), gamma.data, beta.data, y.tensor(),
                              mean,       inverse,    kEpsilon};
  Work work(k.layer_norm_forward, args, shape.rows);
  work.traffic({x}, {y});
  work.wrong = [=] {
    return compare("y", y, [&](int64_t r, int64_t c) {
      return gamma.at(0, c) * Moments(x, r).normalized(x, r, c) + beta.at(0, c);
    });
  };
  return work;
}

Work backward(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random(shape), dy = arrays.random(shape), dx = arrays.zeros(shape);
  const Array gamma = arrays.random({1, shape.columns});
  const Array dgamma = arrays.zeros({1, shape.columns}), dbeta = arrays.zeros({1, shape.columns});
  auto *mean = arrays.of<double>(shape.rows), *inverse = arrays.of<double>(shape.rows);
  for (int64_t r = 0; r < shape.rows; ++r) {
    const Moments moments(x, r);
    mean[r] = moments.mean, inverse[r] = moments.inverse;
  }
  auto* partial = arrays.of<double>(2 * chunks_of(shape.rows).count * padded(shape.columns));
  const LayerNormBackward args{x.tensor(),  gamma.data, mean,        inverse, dy.tensor(),
                               dgamma.data, dbeta.data, dx.tensor(), partial};
  Work work(k.layer_norm_backward, args, shape.rows);
  work.traffic({x, dy}, {dx});
  work.wrong = [=] {
    const Formula xhat = [=](int64_t r, int64_t c) { return (x.at(r, c) - mean[r]) * inverse[r]; };
    const std::string wrong = compare("dx", dx, [&](int64_t r, int64_t c) {
      const Formula g = [&](int64_t row, int64_t j) {
        return double{dy.at(row, j)} * gamma.at(0, j);
      };
      const Formula gx = [&](int64_t row, int64_t j) { return g(row, j) * xhat(row, j); };
      const double inner = g(r, c) - mean_of_row(x, g, r) - xhat(r, c) * mean_of_row(x, gx, r);
      return inner * inverse[r];
    });
    if (!wrong.empty()) return wrong;
    const Formula wanted = [=](int64_t, int64_t c) {
      double sum = 0.0;
      for (int64_t r = 0; r < x.rows; ++r) sum += dy.at(r, c) * xhat(r, c);
      return sum;
    };
    return compare("dgamma", dgamma, wanted, 1e-4);
  };
  return work;
}

Work affine(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random(shape), y = arrays.zeros(shape);
  auto *center = arrays.of<double>(shape.columns), *spread = arrays.of<double>(shape.columns);
  for (int64_t c = 0; c < shape.columns; ++c) center[c] = 0.5, spread[c] = 4.0;
  auto* workspace = arrays.of<float>(4 * padded(shape.columns));
  const Affine args{
      AffineKind::kNormalize, x.tensor(), center, spread, y.tensor(), false, workspace};
  Work work(k.affine, args, shape.rows);
  work.traffic({x}, {y});
  work.wrong = [=] {
    return compare("y", y, [=](int64_t r, int64_t c) { return (x.at(r, c) - 0.5) / 2.0; });
  };
  return work;
}

Work sum(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array a = arrays.random(shape), b = arrays.random(shape), y = arrays.zeros(shape);
  Work work(k.add, Add{a.tensor(), b.tensor(), y.tensor()}, shape.rows);
  work.traffic({a, b}, {y});
  work.wrong = [=] {
    return compare("y", y, [=](int64_t r, int64_t c) { return double{a.at(r, c)} + b.at(r, c); });
  };
  return work;
}

}  // namespace

void add_layer_norm() {
  for (const Shape shape : kElementwise) {
    const auto row = [&](const char* name, Work (*make)(Shape, const Kernels&, Arrays&)) {
      evengrad::bench::add(name, shape.name(), [=](const Kernels& k, Arrays& arrays) {
        return make(shape, k, arrays);
      });
    };
    row("layer_norm_forward", forward);
    row("layer_norm_backward", backward);
    row("affine", affine);
    row("add", sum);
  }
}

}  // namespace evengrad::bench
