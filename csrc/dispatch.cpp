// Chooses the kernels once. Compiled for the baseline only.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace evengrad {

namespace baseline {
const Kernels& table();
}
#ifdef EVENGRAD_X86_ISAS
namespace avx2 {
const Kernels& table();
}
namespace avx512 {
const Kernels& table();
}
#endif

namespace {

struct Candidate {
  const char* name;
  const Kernels& (*table)();
  bool (*runs_here)();
};

// From the best to the one that runs everywhere.
const Candidate kCandidates[] = {
#ifdef EVENGRAD_X86_ISAS
    {"avx512", avx512::table,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
     }},
    {"avx2", avx2::table,
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
    {"baseline", baseline::table, [] { return true; }},
};

char error[200] = "";

const Kernels& choose() {
  const char* wanted = std::getenv("EVENGRAD_ISA");
  const bool any = !wanted || !*wanted;
  for (const Candidate& candidate : kCandidates) {
    if (!any && std::strcmp(wanted, candidate.name) != 0) continue;
    if (candidate.runs_here()) return candidate.table();
  }
  if (!any) {
    std::snprintf(error, sizeof error,
                  "EVENGRAD_ISA: expected one of baseline, avx2, avx512 that this build and "
                  "processor have, got '%.40s'",
                  wanted);
  }
  return baseline::table();
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

const char* kernels_error() {
  kernels();
  return error;
}

const Kernels* runnable_kernels(int i) {
  for (const Candidate& candidate : kCandidates) {
    if (candidate.runs_here() && i-- == 0) return &candidate.table();
  }
  return nullptr;
}

}  // namespace evengrad
