// How many threads a program runs on: as many as were seen to make it fastest. Results do not
// depend on it, so trying is free but for its time, which is kept to a few percent.
#pragma once
#include <stdint.h>

#include <algorithm>

namespace evengrad {

// Compares the number of threads in use with a neighbour, half or double as many, in turns of a
// few steps; waits longer before the next comparison each time that nothing changed. It has no
// clock of its own: all times are the caller's, in ns.
class Pace {
 public:
  // Threads and the largest number of steps of the next turn.
  struct Turn {
    int threads;
    int64_t steps;
  };
  // At most `most` threads. `work` is about the floating-point operations of a step, which is all
  // that is known at first.
  Turn next(double work, int most, int64_t now) {
    if (most == 1 || work < kLeastWork) return {1, INT64_MAX};
    if (threads_ == 0) {
      threads_ = work < kLeastTeamWork ? 1 : most;
      next_trial_ = now + kFirstWait;
    }
    if (resumed_ > 0 && now >= next_trial_) {
      threads_ = resumed_;
      resumed_ = 0;
      pause(false, now);
    }
    threads_ = std::min(threads_, most);
    if (trying_ == 0 && now >= next_trial_) begin_trial(most);
    if (trying_ > 0) return {trying_ % 2 ? other_ : threads_, steps_within(kTurn)};
    return {threads_, steps_within(std::max(next_trial_ - now, kTurn))};
  }

  // What became of the turn: so many steps in so many ns, and whether its team gave up because
  // others wanted the cores.
  void record(const Turn& turn, int64_t steps, int64_t elapsed, bool stalled, int64_t now) {
    if (steps > 0) cost_ = elapsed / steps + 1;
    if (stalled) return rest(turn.threads, now);
    if (turn.threads > 1 && elapsed > kFirstWait) stall_ = kShortest / 2;  // went well for long
    if (steps > 0 && trying_ > 0) add_to_trial(steps, elapsed, now);
  }

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

  // Calls of one step each make a turn together.
  void add_to_trial(int64_t steps, int64_t elapsed, int64_t now) {
    steps_ += steps;
    elapsed_ += elapsed;
    if (steps_ < kLeastSteps || elapsed_ < kTurn / 2) return;
    int64_t& best = trying_ % 2 ? other_cost_ : own_cost_;
    best = std::min(best, elapsed_ / steps_);
    steps_ = elapsed_ = 0;
    if (--trying_ == 0) end_trial(now);
  }

  void end_trial(int64_t now) {
    const bool better = static_cast<double>(other_cost_) < kGain * static_cast<double>(own_cost_);
    if (better) {
      threads_ = other_;
    } else {
      upward_ = !upward_;
    }
    pause(!better, now);
  }

  // A few percent of the time, and less and less, goes into trials.
  void pause(bool longer, int64_t now) {
    wait_ = longer ? std::min(2 * wait_, kLongest) : kShortest;
    next_trial_ = now + std::max(wait_, 300 * cost_);
  }

  // Alone for a while after a stall, longer each time, then as before it.
  void rest(int threads, int64_t now) {
    resumed_ = std::max(threads, threads_);
    threads_ = 1;
    trying_ = 0;
    next_trial_ = now + stall_;
    stall_ = std::min(2 * stall_, kLongest);
  }

  int threads_ = 0, other_ = 0, trying_ = 0;
  int resumed_ = 0;  // threads to go on with after a rest
  bool upward_ = false;
  int64_t cost_ = 0, own_cost_ = 0, other_cost_ = 0;  // ns a step
  int64_t steps_ = 0, elapsed_ = 0;                   // of the turn so far
  int64_t wait_ = kShortest / 2, next_trial_ = 0, stall_ = kShortest / 2;
};

}  // namespace evengrad
