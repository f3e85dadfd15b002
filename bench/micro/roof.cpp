#include "roof.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "timing.h"

namespace evengrad {

namespace baseline {
double multiply_add(int64_t rounds, float factor, float* result);
}
#ifdef EVENGRAD_X86_ISAS
namespace avx2 {
double multiply_add(int64_t rounds, float factor, float* result);
}
namespace avx512 {
double multiply_add(int64_t rounds, float factor, float* result);
}
#endif

namespace bench {

namespace {

using MultiplyAdd = double (*)(int64_t, float, float*);
const std::map<std::string, MultiplyAdd> kMultiplyAdds = {
    {"baseline", baseline::multiply_add},
#ifdef EVENGRAD_X86_ISAS
    {"avx2", avx2::multiply_add},
    {"avx512", avx512::multiply_add},
#endif
};

constexpr int64_t kRounds = 100'000;  // a few tenths of a millisecond

double measure_peak(MultiplyAdd multiply_add, int threads) {
  volatile float factor = 0.75f;  // not known when compiling
  double operations = 0.0;
  const double seconds = best_time(threads, 1, [&](const Team& team) {
    float result;
    const double mine = multiply_add(kRounds, factor, &result);
    volatile float keep = result;
    static_cast<void>(keep);
    if (team.rank == 0) operations = mine * team.size;
  });
  return operations / seconds;
}

double measure_copy(int threads, int64_t floats) {
  // Half a page off: arrays that start at one offset in their pages get in each other's way in L1.
  const std::vector<float> from(static_cast<std::size_t>(floats), 1.0f);
  std::vector<float> to(static_cast<std::size_t>(floats) + 1024);
  const auto page = [](const float* p) { return reinterpret_cast<uintptr_t>(p) % 4096; };
  float* start = to.data() + (page(from.data()) + 2048 + 4096 - page(to.data())) % 4096 / 4;
  const int64_t calls = std::max<int64_t>(1, 2'000'000 / floats);
  const double seconds = best_time(threads, calls, [&](const Team& t) {
    const Range lines = part(floats / kPitchFloats, t);
    std::memcpy(start + lines.begin * kPitchFloats, from.data() + lines.begin * kPitchFloats,
                static_cast<std::size_t>((lines.end - lines.begin) * kPitchFloats) * sizeof(float));
  });
  return 2.0 * sizeof(float) * static_cast<double>(floats) / seconds;
}

template <class Key, class Measure>
double highest(std::map<Key, double>& known, const Key& key, double reached, Measure measure) {
  double& value = known[key];
  if (value == 0.0 || value < reached) value = std::max(value, measure());
  return value;
}

}  // namespace

double peak(const std::string& isa, int threads, double reached) {
  static std::map<std::pair<std::string, int>, double> known;
  return highest(known, {isa, threads}, reached,
                 [&] { return measure_peak(kMultiplyAdds.at(isa), threads); });
}

double copy_bandwidth(int threads, double bytes, double reached) {
  static std::map<std::pair<int, int64_t>, double> known;
  const auto floats = static_cast<int64_t>(bytes) / 8 / kPitchFloats * kPitchFloats + kPitchFloats;
  return highest(known, {threads, floats}, reached, [&] { return measure_copy(threads, floats); });
}

}  // namespace bench
}  // namespace evengrad
