// Updates beyond SGD, Adam and RMSprop, accumulated gradients, averages, what watches them.
#include <algorithm>
#include <cmath>
#include <memory>

#include "variables.h"

namespace evengrad::bench {

namespace {

constexpr double kFirst = 0.9, kSecond = 0.999, kEpsilon = 1e-7;

// A variable with two slots, the first one's numbers from `low` on, the second one's positive.
struct Updated {
  Updated(int64_t count, Arrays& arrays, KernelOf<Update> kernel, double a, double b,
          float low = -2.0f)
      : v(count, arrays),
        w(arrays.random({1, count})),
        m(arrays.random({1, count}, low)),
        square(arrays.random({1, count}, 0.1f, 2.0f)) {
    v.attach(&Chunk::value, w);
    v.attach_slot(0, m);
    v.attach_slot(1, square);
    made = std::make_shared<Work>(kernel, v.update(Clip::kNone, a, b), 1);
    made->traffic({v.gradient, w, m, square}, {w, m, square});
  }
  // move(g, m, square) of the state before: what is taken from w.
  Work checked(const std::function<double(double, double, double)>& move) const {
    const auto gradient = v.gradient;
    const Array w_ = w, m_ = m, square_ = square;
    made->wrong = [=] {
      return compare("w", w_, [=](int64_t r, int64_t i) {
        const double g = gradient.at(r, i);
        return w_.before(r, i) - move(g, m_.before(r, i), square_.before(r, i));
      });
    };
    return *made;
  }

  Variables v;
  Array w, m, square;
  std::shared_ptr<Work> made;
};

Work nadam(int64_t count, const Kernels& k, Arrays& arrays) {
  const Updated u(count, arrays, k.nadam, kFirst, kSecond);
  const double rate = u.made->step.learning_rate;
  const auto t = static_cast<int>(u.made->step.iteration);
  const auto weight = [](int i) { return kFirst * (1.0 - 0.5 * std::pow(0.96, i)); };
  double product = 1.0;
  for (int i = 1; i <= t; ++i) product *= weight(i);
  return u.checked([=](double g, double m, double square) {
    const double mean = kFirst * m + (1.0 - kFirst) * g;
    const double second = kSecond * square + (1.0 - kSecond) * g * g;
    const double ahead = weight(t + 1) * mean / (1.0 - product * weight(t + 1)) +
                         (1.0 - weight(t)) * g / (1.0 - product);
    return rate * ahead / (std::sqrt(second / (1.0 - std::pow(kSecond, t))) + kEpsilon);
  });
}

Work adamax(int64_t count, const Kernels& k, Arrays& arrays) {
  const Updated u(count, arrays, k.adamax, kFirst, kSecond);
  const double rate = u.made->step.learning_rate;
  const auto t = static_cast<int>(u.made->step.iteration);
  return u.checked([=](double g, double m, double largest) {
    const double mean = kFirst * m + (1.0 - kFirst) * g;
    const double most = std::max(kSecond * largest, std::abs(g));
    return rate / (1.0 - std::pow(kFirst, t)) * mean / (most + kEpsilon);
  });
}

Work adadelta(int64_t count, const Kernels& k, Arrays& arrays) {
  const Updated u(count, arrays, k.adadelta, kFirst, 0.0, 0.1f);
  const double rate = u.made->step.learning_rate;
  return u.checked([=](double g, double v, double moves) {
    const double second = kFirst * v + (1.0 - kFirst) * g * g;
    return rate * g * std::sqrt(moves + kEpsilon) / std::sqrt(second + kEpsilon);
  });
}

// With one slot only, positive for the sake of the first.
struct OneSlot {
  OneSlot(int64_t count, Arrays& arrays)
      : v(count, arrays),
        w(arrays.random({1, count})),
        slot(arrays.random({1, count}, 0.1f, 2.0f)) {
    v.attach(&Chunk::value, w);
    v.attach_slot(0, slot);
  }
  Variables v;
  Array w, slot;
};

Work adagrad(int64_t count, const Kernels& k, Arrays& arrays) {
  const OneSlot o(count, arrays);
  Work work(k.adagrad, o.v.update(Clip::kNone, 0.0, 0.0), 1);
  work.traffic({o.v.gradient, o.w, o.slot}, {o.w, o.slot});
  const double rate = work.step.learning_rate;
  work.wrong = [=] {
    return compare("w", o.w, [=](int64_t r, int64_t i) {
      const double g = o.v.gradient.at(r, i), sum = o.slot.before(r, i) + g * g;
      return o.w.before(r, i) - rate * g / std::sqrt(sum + kEpsilon);
    });
  };
  return work;
}

Work lion(int64_t count, const Kernels& k, Arrays& arrays) {
  const OneSlot o(count, arrays);
  Work work(k.lion, o.v.update(Clip::kNone, kFirst, kSecond), 1);
  work.traffic({o.v.gradient, o.w, o.slot}, {o.w, o.slot});
  work.wrong = [=] {
    return compare("m", o.slot, [=](int64_t r, int64_t i) {
      return kSecond * o.slot.before(r, i) + (1.0 - kSecond) * o.v.gradient.at(r, i);
    });
  };
  return work;
}

Work accumulate(int64_t count, const Kernels& k, Arrays& arrays) {
  const OneSlot o(count, arrays);
  Work work(k.accumulate, Accumulation{o.v.variables()}, 1);
  work.step.accumulation = 4;
  work.traffic({o.v.gradient, o.slot}, {o.v.gradient});
  work.wrong = [=] {
    return compare("gradient", o.v.gradient, [=](int64_t r, int64_t i) {
      return o.slot.at(r, i) + 0.25 * o.v.gradient.before(r, i);
    });
  };
  return work;
}

Work carry(int64_t count, const Kernels& k, Arrays& arrays) {
  const OneSlot o(count, arrays);
  Work work(k.carry, Accumulation{o.v.variables()}, 1);
  work.step.accumulation = 4;
  work.traffic({o.v.gradient}, {o.slot});
  work.wrong = [=] {
    return compare("sum", o.slot, [=](int64_t r, int64_t i) { return o.v.gradient.at(r, i); });
  };
  return work;
}

Work average(int64_t count, const Kernels& k, Arrays& arrays) {
  const OneSlot o(count, arrays);
  Work work(k.average, Average{o.v.variables(), kFirst, 0}, 1);
  work.traffic({o.w, o.slot}, {o.slot});
  work.wrong = [=] {
    return compare("average", o.slot, [=](int64_t r, int64_t i) {
      return kFirst * o.slot.before(r, i) + (1.0 - kFirst) * o.w.at(r, i);
    });
  };
  return work;
}

// A step without a look: what a training pays at each.
Work watch(int64_t count, const Kernels& k, Arrays& arrays) {
  const Variables v(count, arrays);
  const int64_t width = 2 + 3 * kVariables;
  Health health{};
  auto* totals = arrays.of<double>(2);
  totals[0] = 3.0, totals[1] = 2.0;
  auto* state = arrays.of<int64_t>(5);
  state[1] = state[3] = 1, state[4] = 1;
  auto* rows = arrays.of<double>(2 * width);
  auto* norms = arrays.of<double>(kVariables);
  std::fill(norms, norms + kVariables, 4.0);
  std::fill(v.moved, v.moved + v.chunk_count, Moved{1.0f, 0.25f});
  health.steps = {rows, 2, width, state};
  health.totals = totals;
  health.before = arrays.of<double>(2);
  health.sums = arrays.of<double>(kHealthSums);
  health.known = arrays.of<double>(2);
  health.norms = norms;
  health.moved = v.moved;
  health.starts = v.starts;
  health.variables = kVariables;
  health.looks = {nullptr, 2, 1, state + 2};
  health.origin = state + 4;
  health.every = 1;
  Work work(k.watch, health, 1);
  work.bytes = work.footprint = static_cast<double>(v.chunk_count) * sizeof(Moved);
  work.wrong = [=]() -> std::string {
    const auto chunks = static_cast<double>(v.starts[1] - v.starts[0]);
    const double wanted[] = {1.5, 0.0, 2.0, std::sqrt(chunks), 0.5 * std::sqrt(chunks)};
    for (int i = 0; i < 5; ++i) {
      if (std::abs(rows[i] - wanted[i]) > 1e-12 * chunks) return "row " + std::to_string(i);
    }
    return {};
  };
  return work;
}

}  // namespace

void add_optimizers() {
  for (const int64_t count : kCounts) {
    const auto row = [&](const char* name, Work (*make)(int64_t, const Kernels&, Arrays&)) {
      add(name, std::to_string(count),
          [=](const Kernels& k, Arrays& arrays) { return make(count, k, arrays); });
    };
    row("nadam", nadam);
    row("adamax", adamax);
    row("adagrad", adagrad);
    row("adadelta", adadelta);
    row("lion", lion);
    row("accumulate", accumulate);
    row("carry", carry);
    row("average", average);
    row("watch", watch);
  }
}

}  // namespace evengrad::bench
