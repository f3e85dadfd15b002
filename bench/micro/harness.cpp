#include "harness.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "roof.h"
#include "timing.h"

namespace evengrad::bench {

namespace {

constexpr double kRegionSeconds = 1e-3;
constexpr int64_t kPlaces = 4096;

bool right = true;

void skip(benchmark::State& state, const std::string& why) {
  right = false;
  state.SkipWithError(why.c_str());
}

void report(benchmark::State& state, const Work& work, const char* isa, int threads,
            double seconds) {
  const bool products = work.operations > 0.0;
  const double rate = (products ? work.operations : work.bytes) / seconds;
  state.counters[products ? "GFLOP/s" : "GB/s"] = rate * 1e-9;
  state.counters[products ? "of_peak" : "of_copy"] =
      rate / (products ? peak(isa, threads, rate) : copy_bandwidth(threads, work.footprint, rate));
}

void run(benchmark::State& state, const Kernels& k, const Make& make, int threads) {
  Arrays arrays;
  const Work work = make(k, arrays);
  const auto call = [&](const Team& team) { work.kernel(work.args.get(), work.step, team); };
  const double first = time_calls(threads, 1, call);
  if (std::isinf(first)) return skip(state, "there are not so many threads");
  const std::string wrong = work.wrong();
  if (!wrong.empty()) return skip(state, wrong);
  const auto calls = std::clamp<int64_t>(std::lround(kRegionSeconds / first), 1, 10'000);
  double best = std::numeric_limits<double>::infinity();
  while (state.KeepRunningBatch(calls)) best = std::min(best, time_calls(threads, calls, call));
  report(state, work, k.isa, threads, best);
}

}  // namespace

void Work::traffic(std::initializer_list<Array> read, std::initializer_list<Array> written) {
  std::set<const float*> seen;
  for (const auto& list : {read, written}) {
    for (const Array& array : list) {
      bytes += array.bytes();
      if (seen.insert(array.data).second) footprint += array.bytes();
    }
  }
}

std::string compare(const char* what, Shape shape, const Formula& got, const Formula& wanted,
                    double tolerance) {
  const int64_t last = shape.rows * shape.columns - 1, places = std::min(kPlaces, last + 1);
  for (int64_t i = 0; i < places; ++i) {
    const int64_t index = places > 1 ? last * i / (places - 1) : 0;
    const int64_t r = index / shape.columns, c = index % shape.columns;
    const double g = got(r, c), w = wanted(r, c);
    if (std::fabs(g - w) <= tolerance * (1.0 + std::fabs(w))) continue;
    return std::string(what) + "[" + std::to_string(r) + "][" + std::to_string(c) + "] is " +
           std::to_string(g) + ", expected " + std::to_string(w);
  }
  return "";
}

std::string compare(const char* what, const Array& got, const Formula& wanted, double tolerance) {
  const Formula value = [&](int64_t r, int64_t c) { return double{got.at(r, c)}; };
  return compare(what, {got.rows, got.columns}, value, wanted, tolerance);
}

void add(const std::string& name, const std::string& shape, const Make& make, Threads threads) {
  std::set<int> sizes{1};
  if (threads == Threads::kOneAndAll) sizes.insert(get_num_threads());
  for (int i = 0; const Kernels* k = runnable_kernels(i); ++i) {
    for (const int size : sizes) {
      const std::string full =
          name + "/" + k->isa + "/" + shape + "/threads:" + std::to_string(size);
      benchmark::RegisterBenchmark(full.c_str(),
                                   [=](benchmark::State& state) { run(state, *k, make, size); });
    }
  }
}

bool all_right() { return right; }

}  // namespace evengrad::bench
