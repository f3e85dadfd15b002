// What goes over all variables at the end of a step: norms, clipping, updates.
#include <algorithm>
#include <cmath>

#include "variables.h"

namespace evengrad::bench {

namespace {

Work gradient_norms(int64_t count, const Kernels& k, Arrays& arrays) {
  const Variables v(count, arrays);
  auto *partial = arrays.of<double>(v.chunk_count), *norms = arrays.of<double>(kVariables);
  Work work(k.gradient_norms, GradientNorms{v.variables(), partial, norms}, 1);
  work.step.clip = 1.0;
  work.traffic({v.gradient}, {});
  work.wrong = [=] {
    double wanted[kVariables] = {};
    for (int64_t variable = 0; variable < kVariables; ++variable) {
      const int64_t end = std::min(v.starts[variable + 1] * kChunkFloats, count);
      for (int64_t i = v.starts[variable] * kChunkFloats; i < end; ++i) {
        const double g = v.gradient.at(0, i);
        wanted[variable] += g * g;
      }
    }
    return compare(
        "norms", {1, kVariables}, [=](int64_t, int64_t i) { return norms[i]; },
        [&](int64_t, int64_t i) { return wanted[i]; }, 1e-10);
  };
  return work;
}

// By value: the same loop as by norm, and what is clipped stays as it is in the next call.
Work clip(int64_t count, const Kernels& k, Arrays& arrays) {
  const Variables v(count, arrays);
  Work work(k.clip, v.update(Clip::kValue, 0.0, 0.0), 1);
  work.step.clip = 0.5;
  work.traffic({v.gradient}, {v.gradient});
  work.wrong = [=] {
    return compare("gradient", v.gradient, [=](int64_t r, int64_t i) {
      return std::clamp(v.gradient.before(r, i), -0.5, 0.5);
    });
  };
  return work;
}

Work sgd(int64_t count, const Kernels& k, Arrays& arrays) {
  constexpr double kMomentum = 0.9;
  const Variables v(count, arrays);
  const Array w = arrays.random({1, count}), m = arrays.random({1, count});
  v.attach(&Chunk::value, w), v.attach_slot(0, m);
  Work work(k.sgd, v.update(Clip::kNone, kMomentum, 0.0), 1);
  work.traffic({v.gradient, w, m}, {w, m});
  const double rate = work.step.learning_rate;
  work.wrong = [=] {
    return compare("w", w, [=](int64_t r, int64_t i) {
      return w.before(r, i) + kMomentum * m.before(r, i) - rate * v.gradient.at(r, i);
    });
  };
  return work;
}

Work adam(int64_t count, const Kernels& k, Arrays& arrays) {
  constexpr double kFirst = 0.9, kSecond = 0.999;
  const Variables v(count, arrays);
  const Array w = arrays.random({1, count}), m = arrays.random({1, count});
  const Array square = arrays.random({1, count}, 0.1f, 2.0f);
  v.attach(&Chunk::value, w), v.attach_slot(0, m), v.attach_slot(1, square);
  Work work(k.adam, v.update(Clip::kNone, kFirst, kSecond), 1);
  work.traffic({v.gradient, w, m, square}, {w, m, square});
  const Step step = work.step;
  work.wrong = [=] {
    const double t = static_cast<double>(step.iteration);
    return compare("w", w, [=](int64_t r, int64_t i) {
      const double g = v.gradient.at(r, i);
      const double mean = kFirst * m.before(r, i) + (1.0 - kFirst) * g;
      const double second = kSecond * square.before(r, i) + (1.0 - kSecond) * g * g;
      const double unbiased = std::sqrt(second / (1.0 - std::pow(kSecond, t)));
      // epsilon is added to the biased root, 1e-7 beside 0.3: no difference here
      return w.before(r, i) - step.learning_rate * mean / (1.0 - std::pow(kFirst, t)) / unbiased;
    });
  };
  return work;
}

Work rmsprop(int64_t count, const Kernels& k, Arrays& arrays) {
  constexpr double kRho = 0.9;
  const Variables v(count, arrays);
  const Array w = arrays.random({1, count}), square = arrays.random({1, count}, 0.1f, 2.0f);
  v.attach(&Chunk::value, w), v.attach_slot(0, square);
  Work work(k.rmsprop, v.update(Clip::kNone, kRho, 0.0), 1);
  work.traffic({v.gradient, w, square}, {w, square});
  const double rate = work.step.learning_rate;
  work.wrong = [=] {
    return compare("w", w, [=](int64_t r, int64_t i) {
      const double g = v.gradient.at(r, i);
      const double second = kRho * square.before(r, i) + (1.0 - kRho) * g * g;
      return w.before(r, i) - rate * g / std::sqrt(second + 1e-7);
    });
  };
  return work;
}

}  // namespace

void add_updates() {
  for (const int64_t count : kCounts) {
    const auto row = [&](const char* name, Work (*make)(int64_t, const Kernels&, Arrays&)) {
      add(name, std::to_string(count),
          [=](const Kernels& k, Arrays& arrays) { return make(count, k, arrays); });
    };
    row("gradient_norms", gradient_norms);
    row("clip", clip);
    row("sgd", sgd);
    row("adam", adam);
    row("rmsprop", rmsprop);
  }
}

}  // namespace evengrad::bench
