// Batch normalization. GB/s count x and y once, though forward and backward go over x more often.
#include <cmath>
#include <memory>
#include <vector>

#include "../../csrc/parallel.h"
#include "harness.h"

namespace evengrad::bench {

namespace {

constexpr double kEpsilon = 1e-3;
const Shape kShapes[] = {{32, 300}, {1024, 784}, {65536, 256}};

// Of the columns of an array, in double.
using Column = std::vector<double>;
Column mean_of(const Array& a, const Formula& value) {
  Column mean(static_cast<std::size_t>(a.columns));
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.columns; ++c) mean[static_cast<std::size_t>(c)] += value(r, c);
  }
  for (double& m : mean) m /= static_cast<double>(a.rows);
  return mean;
}

struct Moments {
  explicit Moments(const Array& x) {
    mean = mean_of(x, [&](int64_t r, int64_t c) { return double{x.at(r, c)}; });
    variance = mean_of(x, [&](int64_t r, int64_t c) {
      const double d = x.at(r, c) - mean[static_cast<std::size_t>(c)];
      return d * d;
    });
  }
  double inverse(int64_t c) const {
    return 1.0 / std::sqrt(variance[static_cast<std::size_t>(c)] + kEpsilon);
  }
  double normalized(const Array& x, int64_t r, int64_t c) const {
    return (x.at(r, c) - mean[static_cast<std::size_t>(c)]) * inverse(c);
  }
  Column mean, variance;
};

BatchStatistics statistics_of(const Array& x, Arrays& arrays) {
  const int64_t pitch = padded(x.columns);
  BatchStatistics s{};
  s.center = arrays.of<float>(pitch);
  s.offset = arrays.of<float>(pitch);
  s.inverse = arrays.of<float>(pitch);
  s.scale = arrays.of<float>(pitch);
  s.shift = arrays.of<float>(pitch);
  s.mean = arrays.of<double>(pitch);
  s.variance = arrays.of<double>(pitch);
  s.partial = arrays.of<double>(2 * chunks_of(x.rows).count * pitch);
  return s;
}

// Moments as the forward kernel leaves them.
void set(const BatchStatistics& s, const Moments& moments) {
  for (std::size_t c = 0; c < moments.mean.size(); ++c) {
    s.mean[c] = moments.mean[c], s.variance[c] = moments.variance[c];
    s.center[c] = static_cast<float>(s.mean[c]);
    s.offset[c] = static_cast<float>(s.mean[c] - s.center[c]);
    s.inverse[c] = static_cast<float>(moments.inverse(static_cast<int64_t>(c)));
  }
}

Work forward(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random(shape), y = arrays.zeros(shape);
  const Array gamma = arrays.random({1, shape.columns}), beta = arrays.random({1, shape.columns});
  const BatchNormForward args{
      x.tensor(), gamma.data, beta.data, y.tensor(), {}, statistics_of(x, arrays), kEpsilon};
  Work work(k.batch_norm_forward, args, shape.rows);
  work.traffic({x}, {y});
  work.wrong = [=] {
    const Moments moments(x);
    return compare("y", y, [&](int64_t r, int64_t c) {
      return gamma.at(0, c) * moments.normalized(x, r, c) + beta.at(0, c);
    });
  };
  return work;
}

Work backward(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random(shape), dy = arrays.random(shape), dx = arrays.zeros(shape);
  const Array gamma = arrays.random({1, shape.columns}), dgamma = arrays.zeros({1, shape.columns});
  const Array dbeta = arrays.zeros({1, shape.columns});
  const auto moments = std::make_shared<Moments>(x);
  const BatchStatistics statistics = statistics_of(x, arrays);
  set(statistics, *moments);
  auto* sums = arrays.of<float>(3 * padded(shape.columns));
  const BatchNormBackward args{x.tensor(), dy.tensor(), gamma.data, dgamma.data,
                               dbeta.data, dx.tensor(), statistics, sums};
  Work work(k.batch_norm_backward, args, shape.rows);
  work.traffic({x, dy}, {dx});
  work.wrong = [=] {
    const double n = static_cast<double>(x.rows);
    const Column sum = mean_of(x, [&](int64_t r, int64_t c) { return double{dy.at(r, c)}; });
    const Column product = mean_of(
        x, [&](int64_t r, int64_t c) { return dy.at(r, c) * moments->normalized(x, r, c); });
    const auto of = [](const Column& column, int64_t c) {
      return column[static_cast<std::size_t>(c)];
    };
    std::string wrong = compare("dx", dx, [&](int64_t r, int64_t c) {
      const double xhat = moments->normalized(x, r, c);
      return gamma.at(0, c) * moments->inverse(c) *
             (dy.at(r, c) - of(sum, c) - xhat * of(product, c));
    });
    if (!wrong.empty()) return wrong;
    wrong = compare("dgamma", dgamma, [&](int64_t, int64_t c) { return n * of(product, c); }, 1e-4);
    if (!wrong.empty()) return wrong;
    return compare("dbeta", dbeta, [&](int64_t, int64_t c) { return n * of(sum, c); }, 1e-4);
  };
  return work;
}

// Means and variances that a model has come to.
struct Moving {
  Moving(int64_t columns, Arrays& arrays)
      : mean(arrays.of<double>(columns)), variance(arrays.of<double>(columns)) {
    for (int64_t c = 0; c < columns; ++c) {
      mean[c] = 0.1 + 0.001 * static_cast<double>(c), variance[c] = 1.0 + mean[c];
    }
  }
  double inverse(int64_t c) const { return 1.0 / std::sqrt(variance[c] + kEpsilon); }
  double *mean, *variance;
};

Work inference(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random(shape), y = arrays.zeros(shape);
  const Array gamma = arrays.random({1, shape.columns}), beta = arrays.random({1, shape.columns});
  const Moving moving(shape.columns, arrays);
  auto* workspace = arrays.of<float>(4 * padded(shape.columns));
  const BatchNormInference args{x.tensor(),      gamma.data, beta.data, moving.mean,
                                moving.variance, y.tensor(), workspace, kEpsilon};
  Work work(k.batch_norm_inference, args, shape.rows);
  work.traffic({x}, {y});
  work.wrong = [=] {
    return compare("y", y, [=](int64_t r, int64_t c) {
      return gamma.at(0, c) * (x.at(r, c) - moving.mean[c]) * moving.inverse(c) + beta.at(0, c);
    });
  };
  return work;
}

Work frozen(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array dy = arrays.random(shape), dx = arrays.zeros(shape);
  const Array gamma = arrays.random({1, shape.columns});
  const Moving moving(shape.columns, arrays);
  auto* workspace = arrays.of<float>(padded(shape.columns));
  const BatchNormFrozenBackward args{dy.tensor(), gamma.data, moving.variance,
                                     dx.tensor(), workspace,  kEpsilon};
  Work work(k.batch_norm_frozen_backward, args, shape.rows);
  work.traffic({dy}, {dx});
  work.wrong = [=] {
    return compare("dx", dx, [=](int64_t r, int64_t c) {
      return dy.at(r, c) * gamma.at(0, c) * moving.inverse(c);
    });
  };
  return work;
}

Work moving_statistics(int64_t columns, const Kernels& k, Arrays& arrays) {
  constexpr double kMomentum = 0.9;
  const Moving batch(columns, arrays);
  auto *mean = arrays.of<double>(columns), *variance = arrays.of<double>(columns);
  auto* count = arrays.of<int64_t>(1);
  const BatchNormMoving args{columns,  batch.mean, batch.variance, mean,
                             variance, count,      kMomentum,      false};
  Work work(k.batch_norm_moving, args, 1);
  work.footprint = 4.0 * sizeof(double) * static_cast<double>(columns);
  work.bytes = 1.5 * work.footprint;  // two arrays of the four are read and written
  work.wrong = [=] {
    const Shape both{2, columns};
    return compare(
        "moving", both, [=](int64_t r, int64_t c) { return r == 0 ? mean[c] : variance[c]; },
        [=](int64_t r, int64_t c) {
          return (1.0 - kMomentum) * (r == 0 ? batch.mean[c] : batch.variance[c]);
        });
  };
  return work;
}

}  // namespace

void add_batch_norm() {
  for (const Shape shape : kShapes) {
    const auto row = [&](const char* name, Work (*make)(Shape, const Kernels&, Arrays&)) {
      add(name, shape.name(),
          [=](const Kernels& k, Arrays& arrays) { return make(shape, k, arrays); });
    };
    row("batch_norm_forward", forward);
    row("batch_norm_backward", backward);
    row("batch_norm_inference", inference);
    row("batch_norm_frozen_backward", frozen);
  }
  add(
      "batch_norm_moving", "784",
      [](const Kernels& k, Arrays& arrays) { return moving_statistics(784, k, arrays); },
      Threads::kOne);
}

}  // namespace evengrad::bench
