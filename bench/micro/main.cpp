// Every kernel on every instruction set that this processor can run: first whether it is right,
// then how fast, then which share that is of what the machine can do. bench/README.md says how.
#include <benchmark/benchmark.h>

#include <cstdio>

#include "harness.h"
#include "roof.h"
#include "timing.h"

namespace {

using namespace evengrad;

void describe_machine() {
  benchmark::AddCustomContext("thread backend", thread_backend());
  for (int i = 0; const Kernels* k = runnable_kernels(i); ++i) {
    char text[100];
    const double one = bench::peak(k->isa, 1), all = bench::peak(k->isa, get_num_threads());
    std::snprintf(text, sizeof text, "%.1f GFLOP/s on 1 thread, %.1f on %d", one * 1e-9, all * 1e-9,
                  get_num_threads());
    benchmark::AddCustomContext(std::string("peak ") + k->isa, text);
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  describe_machine();
  bench::add_products();
  bench::add_batch_norm();
  bench::add_activations();
  bench::add_elementwise();
  bench::add_layer_norm();
  bench::add_losses();
  bench::add_shaping();
  bench::add_updates();
  bench::add_optimizers();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return bench::all_right() ? 0 : 1;
}
