// How many threads a program runs on: as many as were seen to make it fastest. Results do not
// depend on it, so trying is free but for its time, which is kept to a few percent.
#pragma once
#include <stdint.h>

#include <algorithm>
#include <chrono>

#include "parallel.h"

namespace evengrad {

// Compares the number of threads in use with a neighbour, half or double as many, in turns of a
// few steps; waits longer before the next comparison each time that nothing changed.
class Pace {
 public:
  using Clock = std::chrono::steady_clock;

  // Threads and the largest number of steps for the next turn. `work` is about the floating-point
  // operations of a step, which is all that is known at first.
  struct Turn {
    int threads;
    int64_t steps;
  };
  Turn next(double work) {
    const int most = get_num_threads();
    if (most == 1 || work < kLeastWork) return {1, INT64_MAX};
    if (threads_ == 0) {
      threads_ = work < kLeastTeamWork ? 1 : most;
      next_trial_ = now() + kFirstWait;
    }
    if (resumed_ > 0 && now() >= next_trial_) {
      threads_ = resumed_;
      resumed_ = 0;
      pause(false);
    }
    threads_ = std::min(threads_, most);
    if (trying_ == 0 && now() >= next_trial_) begin_trial(most);
    if (trying_ > 0) return {trying_ % 2 ? other_ : threads_, steps_within(kTurn)};
    return {threads_, steps_within(std::max<int64_t>(next_trial_ - now(), kTurn))};
  }

  // What became of the turn: so many steps in so many ns.
  void record(int64_t steps, int64_t elapsed) {
    if (steps == 0) return;
    cost_ = elapsed / steps + 1;
    if (trying_ == 0) return;
    steps_ += steps, elapsed_ += elapsed;  // calls of one step each make a turn together
    if (steps_ < kLeastSteps || elapsed_ < kTurn / 2) return;
    int64_t& best = trying_ % 2 ? other_cost_ : own_cost_;
    best = std::min(best, elapsed_ / steps_);
    steps_ = elapsed_ = 0;
    if (--trying_ == 0) end_trial();
  }

  // Others wanted the cores so much that the team gave up: alone for a while, longer each time.
  void stalled() {
    resumed_ = std::max(threads_, trying_ % 2 ? other_ : threads_);
    threads_ = 1;
    trying_ = 0;
    next_trial_ = now() + stall_;
    stall_ = std::min(2 * stall_, kLongest);
  }
  // It went well for long enough.
  void calm(int64_t elapsed) {
    if (elapsed > kFirstWait) stall_ = kShortest / 2;
  }

  static int64_t now() { return Clock::now().time_since_epoch() / std::chrono::nanoseconds(1); }

 private:
  // Below the first a second thread is no use; below the second it begins with one.
  static constexpr double kLeastWork = 2e5, kLeastTeamWork = 1.5e6;
  // Turns are long enough for data to have moved to the caches of those who work on it.
  static constexpr int64_t kTurn = 2'000'000, kLeastSteps = 3;  // ns
  static constexpr int64_t kFirstWait = 5'000'000, kShortest = 40'000'000;
  static constexpr int64_t kLongest = 1'000'000'000;
  static constexpr int kTurns = 4;
  static constexpr double kGain = 0.97;  // of the time, or it is not worth a change

  int64_t steps_within(int64_t time) const {
    return cost_ ? std::max(kLeastSteps, time / cost_) : 1;
  }

  void begin_trial(int most) {
    if (threads_ == most) upward_ = false;
    if (threads_ == 1) upward_ = true;
    other_ = upward_ ? std::min(2 * threads_, most) : threads_ / 2;
    own_cost_ = other_cost_ = INT64_MAX;
    steps_ = elapsed_ = 0;
    trying_ = kTurns;
  }

  void end_trial() {
    const bool better = static_cast<double>(other_cost_) < kGain * static_cast<double>(own_cost_);
    if (better) {
      threads_ = other_;
    } else {
      upward_ = !upward_;
    }
    pause(!better);
  }

  // A few percent of the time, and less and less, goes into trials.
  void pause(bool longer) {
    wait_ = longer ? std::min(2 * wait_, kLongest) : kShortest;
    next_trial_ = now() + std::max(wait_, 300 * cost_);
  }

  int threads_ = 0, other_ = 0, trying_ = 0;
  int resumed_ = 0;  // threads to go on with after a stall
  bool upward_ = false;
  int64_t cost_ = 0, own_cost_ = 0, other_cost_ = 0;  // ns a step
  int64_t steps_ = 0, elapsed_ = 0;                   // of the turn so far
  int64_t wait_ = kShortest / 2, next_trial_ = 0, stall_ = kShortest / 2;
};

}  // namespace evengrad
