// What goes over a batch once: PReLU, softmax, dropout, and what carries samples from here to
// there.
#include <algorithm>
#include <cmath>

#include "../../csrc/parallel.h"
#include "harness.h"

namespace evengrad::bench {

namespace {

Work prelu_forward(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random(shape), y = arrays.zeros(shape);
  const Array alpha = arrays.random({1, shape.columns});
  Work work(k.prelu_forward, PReLUForward{x.tensor(), alpha.data, y.tensor()}, shape.rows);
  work.traffic({x}, {y});
  work.wrong = [=] {
    return compare("y", y, [=](int64_t r, int64_t c) {
      return x.at(r, c) < 0.0f ? double{alpha.at(0, c)} * x.at(r, c) : double{x.at(r, c)};
    });
  };
  return work;
}

Work prelu_backward(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random(shape), dy = arrays.random(shape), dx = arrays.zeros(shape);
  const Array alpha = arrays.random({1, shape.columns}), dalpha = arrays.zeros({1, shape.columns});
  auto* partial = arrays.of<double>(chunks_of(shape.rows).count * padded(shape.columns));
  const PReLUBackward args{x.tensor(), alpha.data, dy.tensor(), dalpha.data, dx.tensor(), partial};
  Work work(k.prelu_backward, args, shape.rows);
  work.traffic({x, dy}, {dx});
  work.wrong = [=] {
    const std::string wrong = compare("dx", dx, [=](int64_t r, int64_t c) {
      return dy.at(r, c) * (x.at(r, c) > 0.0f ? 1.0 : double{alpha.at(0, c)});
    });
    if (!wrong.empty()) return wrong;
    const Formula wanted = [=](int64_t, int64_t c) {
      double sum = 0.0;
      for (int64_t r = 0; r < x.rows; ++r) sum += dy.at(r, c) * std::fmin(x.at(r, c), 0.0);
      return sum;
    };
    return compare("dalpha", dalpha, wanted, 1e-4);
  };
  return work;
}

Work softmax_forward(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random(shape), y = arrays.zeros(shape);
  Work work(k.softmax_forward, SoftmaxForward{x.tensor(), y.tensor()}, shape.rows);
  work.traffic({x}, {y});
  work.wrong = [=] {
    return compare("y", y, [=](int64_t r, int64_t c) {
      double sum = 0.0;
      for (int64_t j = 0; j < x.columns; ++j) sum += std::exp(double{x.at(r, j)} - x.at(r, c));
      return 1.0 / sum;
    });
  };
  return work;
}

Work softmax_backward(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array y = arrays.random(shape), dy = arrays.random(shape), dx = arrays.zeros(shape);
  const SoftmaxBackward args{y.tensor(), dy.tensor(), dx.tensor()};
  Work work(k.softmax_backward, args, shape.rows);
  work.traffic({y, dy}, {dx});
  work.wrong = [=] {
    const Formula wanted = [=](int64_t r, int64_t c) {
      double dot = 0.0;
      for (int64_t j = 0; j < y.columns; ++j) dot += double{y.at(r, j)} * dy.at(r, j);
      return y.at(r, c) * (dy.at(r, c) - dot);
    };
    return compare("dx", dx, wanted, 1e-4);
  };
  return work;
}

Work log_softmax_forward(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random(shape), y = arrays.zeros(shape);
  Work work(k.log_softmax_forward, SoftmaxForward{x.tensor(), y.tensor()}, shape.rows);
  work.traffic({x}, {y});
  work.wrong = [=] {
    return compare("y", y, [=](int64_t r, int64_t c) {
      double sum = 0.0;
      for (int64_t j = 0; j < x.columns; ++j) sum += std::exp(double{x.at(r, j)} - x.at(r, c));
      return -std::log(sum);
    });
  };
  return work;
}

Work log_softmax_backward(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array y = arrays.random(shape, -7.0f, 0.0f);
  const Array dy = arrays.random(shape), dx = arrays.zeros(shape);
  const SoftmaxBackward args{y.tensor(), dy.tensor(), dx.tensor()};
  Work work(k.log_softmax_backward, args, shape.rows);
  work.traffic({y, dy}, {dx});
  work.wrong = [=] {
    const Formula wanted = [=](int64_t r, int64_t c) {
      double sum = 0.0;
      for (int64_t j = 0; j < y.columns; ++j) sum += dy.at(r, j);
      return dy.at(r, c) - std::exp(double{y.at(r, c)}) * sum;
    };
    return compare("dx", dx, wanted, 1e-4);
  };
  return work;
}

// Philox4x32-10, one number at a time: the c-th of a row.
uint32_t philox(uint32_t row, uint32_t c, uint32_t update, uint64_t key) {
  uint32_t x[4] = {c / 64 * 16 + c % 16, row, update, 0}, low = static_cast<uint32_t>(key);
  auto high = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = x[0] * uint64_t{0xD2511F53}, b = x[2] * uint64_t{0xCD9E8D57};
    const uint32_t next[4] = {static_cast<uint32_t>(b >> 32) ^ x[1] ^ low, static_cast<uint32_t>(b),
                              static_cast<uint32_t>(a >> 32) ^ x[3] ^ high,
                              static_cast<uint32_t>(a)};
    std::copy(next, next + 4, x);
    low += 0x9E3779B9, high += 0xBB67AE85;
  }
  return x[c % 64 / 16];
}

Work dropout(Shape shape, const Kernels& k, Arrays& arrays) {
  constexpr double kRate = 0.25;
  const Array x = arrays.random(shape), y = arrays.zeros(shape);
  constexpr auto kScale = static_cast<float>(1.0 / (1.0 - kRate));
  const Dropout args{x.tensor(), y.tensor(), kRate, kScale, 0.0f, 0.0f, 0};
  Work work(k.dropout, args, shape.rows);
  work.step.seed = 0x123456789abcdef;
  const Step step = work.step;
  work.traffic({x}, {y});
  work.wrong = [=] {
    return compare("y", y, [=](int64_t r, int64_t c) {
      const uint32_t drawn = philox(static_cast<uint32_t>(r), static_cast<uint32_t>(c),
                                    static_cast<uint32_t>(step.iteration), step.seed);
      return drawn < kRate * 0x1p32 ? 0.0 : x.at(r, c) / (1.0 - kRate);
    });
  };
  return work;
}

// y = x + z: z is checked by the normal distribution of it, which is what was drawn.
Work noise(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random(shape), y = arrays.zeros(shape);
  Work work(k.noise, Noise{x.tensor(), y.tensor(), 1.0f, 0.0f, 0}, shape.rows);
  work.step.seed = 0x123456789abcdef;
  const Step step = work.step;
  work.traffic({x}, {y});
  work.wrong = [=] {
    const Formula below = [=](int64_t r, int64_t c) {
      return 0.5 * std::erfc((double{x.at(r, c)} - y.at(r, c)) * 0.70710678118654752440);
    };
    return compare("y", shape, below, [=](int64_t r, int64_t c) {
      return (philox(static_cast<uint32_t>(r), static_cast<uint32_t>(c),
                     static_cast<uint32_t>(step.iteration), step.seed) +
              0.5) /
             0x1p32;
    });
  };
  return work;
}

// Flattens samples of 16 columns.
Work reshape(Shape shape, const Kernels& k, Arrays& arrays) {
  const int64_t lines = shape.columns / 16;
  const Array x = arrays.random({shape.rows * lines, 16}), y = arrays.zeros(shape);
  Tensor samples = x.tensor();
  samples.per_sample = lines;
  Work work(k.reshape, Reshape{samples, y.tensor()}, shape.rows);
  work.traffic({x}, {y});
  work.wrong = [=] {
    return compare("y", y, [=](int64_t r, int64_t c) { return x.at(r * lines + c / 16, c % 16); });
  };
  return work;
}

// Whole numbers in an order that jumps about.
template <class T>
Work convert(Dtype dtype, Shape shape, const Kernels& k, Arrays& arrays) {
  const int64_t count = shape.rows * shape.columns;
  auto* source = arrays.of<T>(count);
  auto* order = arrays.of<int64_t>(shape.rows);
  for (int64_t i = 0; i < count; ++i) source[i] = static_cast<T>(i * 13 % 128);
  for (int64_t i = 0; i < shape.rows; ++i) order[i] = i * 40'503 % shape.rows;
  const Array x = arrays.zeros(shape);
  const auto pitch = shape.columns * static_cast<int64_t>(sizeof(T));
  Work work(k.gather, Gather{x.tensor(), nullptr, {}, nullptr}, shape.rows);
  work.step.x = {source, dtype, pitch, false, -1e30f, 1e30f};
  work.step.order = order, work.step.source_rows = shape.rows;
  work.traffic({}, {x});
  work.bytes += static_cast<double>(pitch * shape.rows);
  work.footprint += static_cast<double>(pitch * shape.rows);
  work.wrong = [=] {
    return compare("x", x, [=](int64_t r, int64_t c) {
      return static_cast<double>((order[r] * shape.columns + c) * 13 % 128);
    });
  };
  return work;
}

// All rows of a source with their labels, in an order that jumps about.
Work gather(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array source = arrays.random(shape), x = arrays.zeros(shape);
  auto *labels = arrays.of<int32_t>(shape.rows), *given = arrays.of<int32_t>(shape.rows);
  auto* order = arrays.of<int64_t>(shape.rows);
  for (int64_t i = 0; i < shape.rows; ++i) {
    order[i] = i * 40'503 % shape.rows, given[i] = static_cast<int32_t>(i % 10);
  }
  Work work(k.gather, Gather{x.tensor(), labels, {}, nullptr}, shape.rows);
  work.step.x = {source.data, Dtype::kFloat32, 4 * source.pitch, true, 0.0f, 0.0f};
  work.step.labels = given, work.step.order = order;
  work.step.source_rows = shape.rows;
  work.traffic({source}, {x});
  work.wrong = [=] {
    const std::string wrong =
        compare("x", x, [=](int64_t r, int64_t c) { return source.at(order[r], c); });
    if (!wrong.empty()) return wrong;
    return compare(
        "labels", {1, x.rows}, [=](int64_t, int64_t r) { return labels[r]; },
        [=](int64_t, int64_t r) { return static_cast<double>(order[r] % 10); });
  };
  return work;
}

Work scatter(Shape shape, const Kernels& k, Arrays& arrays) {
  const Array y = arrays.random(shape), output = arrays.zeros(shape);
  Work work(k.scatter, Scatter{y.tensor()}, shape.rows);
  work.step.output = output.data;
  work.traffic({y}, {output});
  work.wrong = [=] {
    return compare("output", output, [=](int64_t r, int64_t c) { return y.at(r, c); });
  };
  return work;
}

// Doubles: the statistics that a failed step is taken back to.
Work copy(int64_t count, const Kernels& k, Arrays& arrays) {
  auto *from = arrays.of<double>(count), *to = arrays.of<double>(count);
  for (int64_t i = 0; i < count; ++i) from[i] = static_cast<double>(i);
  Work work(k.copy, Copy{from, to, count}, 1);
  work.bytes = work.footprint = 2.0 * sizeof(double) * static_cast<double>(count);
  work.wrong = [=] {
    return compare(
        "to", {1, count}, [=](int64_t, int64_t i) { return to[i]; },
        [](int64_t, int64_t i) { return static_cast<double>(i); });
  };
  return work;
}

}  // namespace

void add_elementwise() {
  for (const Shape shape : kElementwise) {
    const auto row = [&](const char* name, Work (*make)(Shape, const Kernels&, Arrays&)) {
      add(name, shape.name(),
          [=](const Kernels& k, Arrays& arrays) { return make(shape, k, arrays); });
    };
    row("prelu_forward", prelu_forward);
    row("prelu_backward", prelu_backward);
    row("softmax_forward", softmax_forward);
    row("softmax_backward", softmax_backward);
    row("log_softmax_forward", log_softmax_forward);
    row("log_softmax_backward", log_softmax_backward);
    row("dropout", dropout);
    row("noise", noise);
    row("reshape", reshape);
    row("gather", gather);
    add("gather_uint8", shape.name(), [=](const Kernels& k, Arrays& arrays) {
      return convert<uint8_t>(Dtype::kUint8, shape, k, arrays);
    });
    add("gather_int64", shape.name(), [=](const Kernels& k, Arrays& arrays) {
      return convert<int64_t>(Dtype::kInt64, shape, k, arrays);
    });
    add("gather_float64", shape.name(), [=](const Kernels& k, Arrays& arrays) {
      return convert<double>(Dtype::kFloat64, shape, k, arrays);
    });
    row("scatter", scatter);
  }
  const int64_t count = 16'384;
  add(
      "copy", std::to_string(count),
      [=](const Kernels& k, Arrays& arrays) { return copy(count, k, arrays); }, Threads::kOne);
}

}  // namespace evengrad::bench
