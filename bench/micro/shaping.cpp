// What shapes gradients before an update and values after it: penalties, clipping that adapts,
// constraints.
#include <algorithm>
#include <cmath>

#include "harness.h"

namespace evengrad::bench {

namespace {

// A kernel in L2, and one far beyond most machines' L3.
const Shape kKernels[] = {{256, 256}, {4096, 2048}};
constexpr int64_t kChunkRows = 16;

double column_norm(const Array& a, int64_t column) {
  double sum = 0.0;
  for (int64_t r = 0; r < a.rows; ++r) sum += a.before(r, column) * a.before(r, column);
  return std::sqrt(sum);
}

Work unit_clip(Shape shape, const Kernels& k, Arrays& arrays) {
  constexpr double kLambda = 0.01, kEpsilon = 1e-3;
  const Array w = arrays.random(shape), g = arrays.random(shape);
  auto* variable = arrays.of<UnitVariable>(1);
  auto* workspace = arrays.of<double>(2 * padded(shape.columns));
  *variable = {w.matrix(), g.matrix(), false,
               kLambda,    workspace,  workspace + padded(shape.columns)};
  Work work(k.unit_clip, UnitClip{variable, 1, kEpsilon, arrays.of<double>(1), nullptr}, 1);
  work.traffic({w, g}, {g});
  work.wrong = [=] {
    return compare("gradient", g, [=](int64_t r, int64_t c) {
      const double limit = kLambda * std::max(column_norm(w, c), kEpsilon);
      return g.before(r, c) * std::min(1.0, limit / column_norm(g, c));
    });
  };
  return work;
}

Work regularize(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array w = arrays.random(shape), g = arrays.random(shape);
  const int64_t count = shape.rows / kChunkRows, length = kChunkRows * w.pitch;
  auto* chunks = arrays.of<Chunk>(count);
  for (int64_t i = 0; i < count; ++i) {
    chunks[i].value = w.data + i * length;
    chunks[i].gradient = g.data + i * length;
    chunks[i].length = length;
  }
  auto* starts = arrays.of<int64_t>(2);
  starts[1] = count;
  auto* factors = arrays.of<double>(2);
  factors[0] = 0.1, factors[1] = 0.2;
  Work work(k.regularize,
            Regularize{{chunks, starts, 1},
                       true,
                       factors,
                       factors + 1,
                       1,
                       arrays.of<double>(count),
                       arrays.of<double>(1)},
            1);
  work.traffic({w, g}, {g});
  work.wrong = [=] {
    return compare("gradient", g, [=](int64_t r, int64_t c) {
      const double x = w.at(r, c);
      return g.before(r, c) + std::copysign(0.1, x) + 2.0 * 0.2 * x;
    });
  };
  return work;
}

Work constrain(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array w = arrays.random(shape);
  Work work(
      k.constrain,
      Constrain{w.matrix(), Constraint::kColumns, 0.0, 2.0, 1.0, arrays.of<double>(shape.rows)}, 1);
  work.traffic({w}, {w});
  work.wrong = [=] {
    return compare("w", w, [=](int64_t r, int64_t c) {
      const double norm = column_norm(w, c);
      return w.before(r, c) * std::min(norm, 2.0) / (1e-7 + norm);
    });
  };
  return work;
}

// The 10th percentile of 1, 2, ..., length, which comes in for the oldest.
Work auto_clip(int64_t length, const Kernels& k, Arrays& arrays) {
  auto *history = arrays.of<double>(length), *ordered = arrays.of<double>(length);
  auto *norms = arrays.of<double>(2), *health = arrays.of<double>(kHealthSums);
  auto* seen = arrays.of<int64_t>(1);
  for (int64_t i = 0; i < length; ++i) history[i] = ordered[i] = static_cast<double>(i + 1);
  *seen = length;
  norms[0] = static_cast<double>(length) * static_cast<double>(length);
  Work work(k.auto_clip, AutoClip{norms, 1, 10.0, history, ordered, length, seen, health}, 1);
  work.bytes = work.footprint = 5 * sizeof(double);  // what stays where it is in its order
  work.wrong = [=] {
    const double wanted = 2.0 + 0.1 * static_cast<double>(length - 1);
    return compare(
        "threshold", {1, 1}, [=](int64_t, int64_t) { return norms[1]; },
        [=](int64_t, int64_t) { return wanted; });
  };
  return work;
}

Work z_clip(const Kernels& k, Arrays& arrays) {
  auto *norms = arrays.of<double>(2), *statistic = arrays.of<double>(2);
  auto* seen = arrays.of<int64_t>(1);
  norms[0] = 36.0, statistic[0] = 1.0, statistic[1] = 1.0, *seen = 30;
  Work work(k.z_clip, ZClip{norms, 1, 0.97, 2.5, 25, statistic, seen, nullptr}, 1);
  work.bytes = work.footprint = 5 * sizeof(double);
  work.wrong = [=] {
    return compare(
        "threshold", {1, 1}, [=](int64_t, int64_t) { return norms[1]; },
        [](int64_t, int64_t) { return 1.0 + 2.5 * 2.5 / 5.0; });
  };
  return work;
}

}  // namespace

void add_shaping() {
  for (const Shape shape : kKernels) {
    const auto row = [&](const char* name, Work (*make)(Shape, const Kernels&, Arrays&)) {
      add(name, shape.name(),
          [=](const Kernels& k, Arrays& arrays) { return make(shape, k, arrays); });
    };
    row("unit_clip", unit_clip);
    row("regularize", regularize);
    row("constrain", constrain);
  }
  add(
      "auto_clip", "10000",
      [](const Kernels& k, Arrays& arrays) { return auto_clip(10'000, k, arrays); }, Threads::kOne);
  add("z_clip", "1", z_clip, Threads::kOne);
}

}  // namespace evengrad::bench
