#include "timing.h"

#include <algorithm>
#include <chrono>
#include <limits>

namespace evengrad::bench {

namespace {

using Clock = std::chrono::steady_clock;

struct Region {
  const Body* body;
  int64_t calls;
  int threads;
  double seconds;
};

void run_member(void* context, const Team& team) {
  auto& region = *static_cast<Region*>(context);
  if (team.size != region.threads) return;
  team.wait();  // threads are there before the clock starts
  const Clock::time_point begin = Clock::now();
  for (int64_t i = 0; i < region.calls; ++i) {
    (*region.body)(team);
    team.wait();
  }
  if (team.rank == 0) region.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

double time_calls(int threads, int64_t calls, const Body& body) {
  Region region{&body, calls, threads, std::numeric_limits<double>::infinity()};
  run_team(threads, run_member, &region);
  return region.seconds / static_cast<double>(calls);
}

double best_time(int threads, int64_t calls, const Body& body) {
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(50);
  double best = std::numeric_limits<double>::infinity();
  do {
    best = std::min(best, time_calls(threads, calls, body));
  } while (Clock::now() < end);
  return best;
}

}  // namespace evengrad::bench
