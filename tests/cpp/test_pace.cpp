// The choice of threads on a simulated machine, where a step takes what the test says it takes.
#include <cstdio>
#include <functional>

#include "../../csrc/pace.h"

using namespace evengrad;

namespace {

int failures = 0;

void expect(const char* what, bool holds) {
  if (holds) return;
  ++failures;
  std::printf("not so: %s\n", what);
}

constexpr int64_t kMs = 1'000'000;
constexpr double kMuch = 1e9, kLittle = 1e3;

// A program whose steps run one turn after the other, or in calls of at most `most_steps` each.
struct Machine {
  std::function<int64_t(int threads)> cost;  // ns a step
  int cores = 2;
  int64_t most_steps = INT64_MAX;
  double work = kMuch;
  Pace pace = {};
  int64_t now = 0, steps = 0;
  int last = 0;  // threads of the last turn

  void turn(bool stalls = false) {
    const Pace::Turn t = pace.next(work, cores, now);
    const int64_t count = std::min(t.steps, most_steps), elapsed = count * cost(t.threads);
    now += elapsed;
    steps += count;
    last = t.threads;
    pace.record(t, stalls ? 1 : count, elapsed, stalls && t.threads > 1, now);
  }
  // Share of `time` that was spent on `threads`.
  double share(int threads, int64_t time) {
    int64_t spent = 0, total = 0;
    for (const int64_t end = now + time; now < end;) {
      const int64_t begin = now;
      turn();
      total += now - begin;
      if (last == threads) spent += now - begin;
    }
    return static_cast<double>(spent) / static_cast<double>(total);
  }
};

// The fastest number is found from both sides, by long and by short calls, and trials stay cheap.
void finds_the_fastest() {
  for (const int64_t most_steps : {INT64_MAX, int64_t{1}}) {
    for (const int64_t unit : {int64_t{10'000}, int64_t{300'000}}) {
      Machine near{[=](int threads) { return unit * 10 / threads; }, 8, most_steps};
      near.share(8, 2000 * kMs);
      expect("all of 8 threads where they help", near.share(8, 2000 * kMs) > 0.95);
      Machine far{[=](int threads) { return unit * threads; }, 8, most_steps};
      far.share(1, 2000 * kMs);
      expect("one thread where more are slower", far.share(1, 2000 * kMs) > 0.9);
      Machine middle{[=](int threads) { return threads == 4 ? unit : 2 * unit; }, 8, most_steps};
      middle.share(4, 2000 * kMs);
      expect("4 of 8 threads where they are best", middle.share(4, 2000 * kMs) > 0.9);
    }
  }
}

void follows_a_change() {
  bool far = true;
  Machine machine{[&](int threads) { return 300'000 * (far ? threads : 3 - threads); }};
  machine.share(1, 3000 * kMs);
  far = false;
  machine.share(2, 2500 * kMs);
  expect("back on two threads when the cores are near again", machine.share(2, 2000 * kMs) > 0.9);
}

// With steps of 20 ms, too: a rest must not last for hundreds of them.
void comes_back_from_a_stall() {
  for (const int64_t cost : {int64_t{100'000}, 20 * kMs}) {
    Machine machine{[=](int threads) { return 2 * cost / threads; }};
    while (machine.last != 2) machine.turn();
    machine.share(2, 20 * cost);
    while (machine.last != 2) machine.turn();
    machine.turn(true);
    machine.turn();
    expect("alone after a stall", machine.last == 1);
    machine.share(1, std::max(40 * kMs, 5 * cost));
    expect("soon together again", machine.share(2, std::max(40 * kMs, 5 * cost)) > 0.7);
  }
}

void rests_longer_while_it_stalls() {
  Machine machine{[](int) { return kMs; }};
  int tries = 0;
  while (machine.now < 10'000 * kMs) {
    machine.turn(true);
    tries += machine.last > 1;
  }
  expect("few tries in 10 s on a crowded machine", tries > 5 && tries < 25);
}

void leaves_small_work_alone() {
  Machine machine{[](int threads) { return 1000 / threads; }, 2, 100};
  machine.work = kLittle;
  expect("one thread for little work", machine.share(1, 100 * kMs) == 1.0);
  machine.work = kMuch;
  machine.cores = 1;
  expect("one thread on one core", machine.share(1, 100 * kMs) == 1.0);
}

}  // namespace

int main() {
  finds_the_fastest();
  follows_a_change();
  comes_back_from_a_stall();
  rests_longer_while_it_stalls();
  leaves_small_work_alone();
  return failures ? 1 : 0;
}
