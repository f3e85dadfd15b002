// The elementary functions as they are compiled: every activation's forward and backward kernel of
// every instruction set that runs here, over all 2^32 floats or every N-th, against libm in double.
// usage: test_functions [--every N] [NAME...]
//
// Campaign of 2026-11-24, gcc 12.2, AMD Zen 5, largest errors in ULP (baseline / AVX2 and AVX-512):
// exponential .934 / .928, elu .862 / .844, tanh .891 / .874, sigmoid 1.967, selu 1.908,
// softplus 1.611 / 1.575, silu 3.113, mish 3.552, gelu 3.340 / 3.311, gelu_tanh 3.295 / 3.580,
// softsign 1.498, hard_sigmoid 1.333, squareplus 2.748, tanh_shrink 3.324 / 3.234, celu .842,
// hard_silu 2.481, sparse_plus 1.914, ln on [1e-7, 1) .882 / .849; log_sigmoid is softplus turned
// round. All 2^32 floats; but gelu_tanh, softsign and hard_sigmoid all with 2^-30 <= |x| < 128 and
// every 31st elsewhere, celu, hard_silu and sparse_plus every third.
#include <algorithm>
#include <atomic>
#include <cfloat>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "../../csrc/kernels.h"
#include "expected_functions.h"

namespace evengrad {

namespace {

using expected::Expected;
using expected::kExpected;

constexpr int64_t kBlock = 4096;
constexpr uint64_t kAll = uint64_t{1} << 32;

float float_of(uint64_t bits) {
  const auto low = static_cast<uint32_t>(bits);
  float x;
  std::memcpy(&x, &low, sizeof x);
  return x;
}
// The distance of floats at x is 1 / per_spacing(x).
double per_spacing(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof x);
  const uint64_t exponent = std::max<uint64_t>(bits >> 52 & 2047, 1023 - 126);
  const uint64_t inverse = (2 * 1023 + 23 - exponent) << 52;
  std::memcpy(&x, &inverse, sizeof x);
  return x;
}
// The next float after the largest stands for infinity.
inline double capped(double x) {
  x = x > 0x1p128 ? 0x1p128 : x;
  return x < -0x1p128 ? -0x1p128 : x;
}

// Exact results of a block, and what turns a difference into ULP: 0 where nothing is asked.
struct Exact {
  double value[kBlock], per_ulp[kBlock];
  bool nan[kBlock];

  void set(int64_t i, double exact, double least) {
    nan[i] = std::isnan(exact);
    value[i] = nan[i] ? 0.0 : capped(exact);
    per_ulp[i] = nan[i] ? 0.0 : per_spacing(std::max(std::fabs(value[i]), least));
  }
  double error(int64_t i, float got) const {
    return std::fabs(capped(double{got}) - value[i]) * per_ulp[i];
  }
};

struct Worst {
  double ulps = 0.0;
  float at = 0.0f;

  void see(const float* x, const float* got, const Exact& exact) {
    double most = 0.0;
    int64_t strange = 0;
    for (int64_t i = 0; i < kBlock; ++i) {
      const double e = exact.error(i, got[i]);
      most = e > most ? e : most;
      strange += (got[i] != got[i]) | exact.nan[i];
    }
    if (most <= ulps && !strange) return;
    for (int64_t i = 0; i < kBlock; ++i) {
      double e = exact.error(i, got[i]);
      if (std::isnan(got[i]) || exact.nan[i])
        e = std::isnan(got[i]) && exact.nan[i] ? 0.0 : INFINITY;
      see({e, x[i]});
    }
  }
  void see(const Worst& other) {
    if (other.ulps > ulps) *this = other;
  }
};

struct Isa {
  const Kernels* kernels;
  Worst value, slope;
};

std::vector<Isa> isas_here() {
  std::vector<Isa> isas;
  for (int i = 0; const Kernels* table = runnable_kernels(i); ++i) isas.push_back({table, {}, {}});
  return isas;
}

struct Block {
  alignas(kAlignment) float x[kBlock], y[kBlock], dy[kBlock], dx[kBlock];
  Exact value, slope;
};

bool near_kink(const Expected& f, double x) {
  return std::fabs(x - f.kinks[0]) < 1e-6 || std::fabs(x - f.kinks[1]) < 1e-6;
}

void run_block(const Expected& f, int index, Block& b, std::vector<Isa>& isas) {
  for (int64_t i = 0; i < kBlock; ++i) {
    const double x = double{b.x[i]};
    b.value.set(i, std::isnan(x) ? x : f.value(x), 0.0);
    // NaN ends a step whatever its gradient is: only that it is none of our doing is asked.
    b.slope.set(i, std::isnan(x) ? 0.0 : f.slope(x), f.least);
    if (near_kink(f, x)) b.slope.per_ulp[i] = 0.0;
  }
  const Team alone{0, 1, nullptr};
  Step step{};
  step.rows = 1;
  const auto row = [](float* data) { return Tensor{data, 1, kBlock, kBlock}; };
  for (Isa& isa : isas) {
    const Activation& kernel = isa.kernels->activations[index];
    ActivationForward forward{row(b.x), row(b.y), {}};
    ActivationBackward backward{row(b.x), row(b.y), row(b.dy), row(b.dx), {}};
    for (int p = 0; p < kernel.parameters; ++p) {
      forward.parameter[p] = backward.parameter[p] = kernel.parameter_default[p];
    }
    kernel.forward.call(&forward, step, alone);
    kernel.backward.call(&backward, step, alone);
    for (int64_t i = 0; i < kBlock; ++i) b.dx[i] = std::isnan(b.x[i]) ? 0.0f : b.dx[i];
    isa.value.see(b.x, b.y, b.value);
    isa.slope.see(b.x, b.dx, b.slope);
  }
}

// What a stride would miss; and -0 that becomes 0, or 0 that becomes -0, is infinitely wrong.
void run_specials(const Expected& f, int index, Block& b, Isa& isa) {
  const float specials[] = {0.0f,     -0.0f,        INFINITY,      -INFINITY, NAN,     FLT_MAX,
                            -FLT_MAX, FLT_TRUE_MIN, -FLT_TRUE_MIN, FLT_MIN,   -FLT_MIN};
  for (int64_t i = 0; i < kBlock; ++i) b.x[i] = specials[i % std::size(specials)];
  std::vector<Isa> one{isa};
  run_block(f, index, b, one);
  isa = one[0];
  for (const int i : {0, 1}) {
    const double exact = f.value(double{b.x[i]});
    const bool turned = exact == 0.0 && std::signbit(b.y[i]) != std::signbit(exact);
    if (turned) isa.value.see({INFINITY, b.x[i]});
  }
}

// Every `every`-th float, in blocks that two threads take in turn.
void sweep(const Expected& f, int index, uint64_t every, std::vector<Isa>& isas) {
  const uint64_t count = (kAll + every - 1) / every, blocks = (count + kBlock - 1) / kBlock;
  std::atomic<uint64_t> next{0};
  std::mutex mutex;
  const auto work = [&] {
    std::vector<Isa> mine = isas_here();
    auto block = std::make_unique<Block>();
    std::fill(block->dy, block->dy + kBlock, 1.0f);
    for (Isa& isa : mine) run_specials(f, index, *block, isa);
    for (uint64_t n; (n = next++) < blocks;) {
      for (uint64_t i = 0; i < kBlock; ++i) {
        block->x[i] = float_of(std::min((n * kBlock + i) * every, kAll - 1));
      }
      run_block(f, index, *block, mine);
    }
    const std::lock_guard<std::mutex> lock(mutex);
    for (std::size_t i = 0; i < isas.size(); ++i) {
      isas[i].value.see(mine[i].value), isas[i].slope.see(mine[i].slope);
    }
  };
  std::thread other(work);
  work();
  other.join();
}

// Prints a line for each instruction set; false where a bound is missing or does not hold.
bool test_activation(const char* name, int index, uint64_t every) {
  const auto* f = std::find_if(std::begin(kExpected), std::end(kExpected),
                               [&](const Expected& e) { return !std::strcmp(e.name, name); });
  if (f == std::end(kExpected)) {
    std::printf("%s: no bound in kExpected\n", name);
    return false;
  }
  std::vector<Isa> isas = isas_here();
  const auto start = std::chrono::steady_clock::now();
  sweep(*f, index, every, isas);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  bool good = true;
  for (const Isa& isa : isas) {
    const bool holds = isa.value.ulps <= f->value_ulps && isa.slope.ulps <= f->slope_ulps;
    good = good && holds;
    std::printf("%-13s%-9s%7.3f at %-15.9g slope%7.3f at %-15.9g%6.1f%s\n", name, isa.kernels->isa,
                isa.value.ulps, double{isa.value.at}, isa.slope.ulps, double{isa.slope.at},
                1e-6 * static_cast<double>(kAll / every) / took.count(),
                holds ? "" : "  TOO LARGE");
  }
  return good;
}

// ln shows in binary cross-entropy: with one column and the target 1 it is -ln(x), in [1e-7, 1).
bool test_log(const Isa& isa, uint64_t every) {
  alignas(kAlignment) float x[kPitchFloats] = {}, target[kPitchFloats] = {1.0f};
  double partial = 0.0, result[2] = {};
  LossArgs args{};
  args.of = {{x, 1, 1, kPitchFloats}, nullptr, {target, 1, 1, kPitchFloats}, nullptr};
  args.reduction = Reduction::kMean;
  args.partial = &partial;
  args.result = result;
  const Kernels& k = *isa.kernels;
  const RowFunction* entropy = std::find_if(k.losses, k.losses + k.loss_count, [](const auto& f) {
    return !std::strcmp(f.name, "binary_cross_entropy");
  });
  Step step{};
  step.rows = 1;
  Worst worst;
  uint32_t bits, end;
  const float from = 1.0001e-7f, to = 1.0f - 2e-7f;
  std::memcpy(&bits, &from, sizeof bits), std::memcpy(&end, &to, sizeof end);
  for (; bits < end; bits += static_cast<uint32_t>(every)) {
    x[0] = float_of(bits), result[0] = 0.0;
    entropy->run.call(&args, step, Team{0, 1, nullptr});
    const double exact = -std::log(double{float_of(bits)});
    worst.see({std::fabs(result[0] - exact) * per_spacing(exact), float_of(bits)});
  }
  std::printf("%-13s%-9s%7.3f at %-15.9g\n", "ln", isa.kernels->isa, worst.ulps, double{worst.at});
  return worst.ulps <= 2.0;
}

}  // namespace
}  // namespace evengrad

int main(int argc, char** argv) {
  using namespace evengrad;
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const bool thinned = argc > 2 && !std::strcmp(argv[1], "--every");
  const uint64_t every = thinned ? std::strtoull(argv[2], nullptr, 10) : 1;
  char **names = argv + (thinned ? 3 : 1), **end = argv + argc;
  const auto wanted = [&](const char* name) {
    return names == end ||
           std::any_of(names, end, [&](const char* other) { return !std::strcmp(name, other); });
  };
  if (every == 0) return 2;
  std::puts("function     ISA      largest error, ULP, at            of the slope            M/s");
  bool good = true;
  const Kernels& table = kernels();
  for (int i = 0; i < table.activation_count; ++i) {
    const char* name = table.activations[i].name;
    if (wanted(name)) good = test_activation(name, i, every) && good;
  }
  for (const Isa& isa : isas_here()) {
    if (wanted("ln")) good = test_log(isa, every) && good;
  }
  return good ? 0 : 1;
}
