// A recorded list of kernel calls and its replay, step after step, in one region of threads.
#pragma once
#include <memory>
#include <vector>

#include "pace.h"

namespace evengrad {

// The bytes of one argument of a call.
struct Extent {
  const char* name;
  const char *begin, *end;
  bool written;
  bool shared;  // each thread touches its own share of it only, as share_of gives it
};

// How a call stands to its neighbours in the list.
struct Flow {
  std::vector<Extent> extents = {};
  bool checks = false;  // may fail the step: the replay looks before it goes on
  double work = 0.0;    // about how many floating-point operations a sample
};

// What a replay goes over: `steps` batches of `batch` samples, the first at step.first; the one
// that reaches `end` may be shorter.
struct Batches {
  int64_t steps = 1, batch = 1, end = 0;
  const double* learning_rates = nullptr;  // one a step, or null: step.learning_rate
};

class Program {
 public:
  explicit Program(int64_t capacity) : capacity_(capacity) {}

  template <class Args>
  void record(KernelOf<Args> kernel, const Args& args, const Flow& flow) {
    const bool follows = !calls_.empty() && !calls_.back().checks && independent(flow.extents);
    if (!follows) since_barrier_.clear();
    since_barrier_.insert(since_barrier_.end(), flow.extents.begin(), flow.extents.end());
    calls_.push_back({kernel.call, std::make_shared<Args>(args), follows, flow.checks});
    work_ += flow.work;
  }

  // Returns the number of steps completed: fewer than asked for where control() has a failure.
  int64_t run(const Step& first, const Batches& batches) {
    control_ = {Failure::kNone, 0};
    Replay replay{this, first, batches, 0, 0, 0, false};
    replay.first.control = &control_;
    const double work = work_ * static_cast<double>(batches.batch);
    while (replay.completed < batches.steps && control_.failure == Failure::kNone) {
      const Pace::Turn turn = pace_.next(work);
      const int64_t left = batches.steps - replay.completed;
      replay.start = replay.completed;
      replay.end = replay.start + std::min(turn.steps, left);
      replay.stalled = false;
      const int64_t begin = Pace::now();
      run_team(turn.threads, replay_member, &replay);
      pace_.record(replay.completed - replay.start, Pace::now() - begin);
      if (replay.stalled) pace_.stalled();
    }
    return replay.completed;
  }

  int64_t capacity() const { return capacity_; }
  std::size_t size() const { return calls_.size(); }
  const Control& control() const { return control_; }

 private:
  struct Call {
    Kernel kernel;
    std::shared_ptr<const void> args;
    bool follows;  // no barrier before it
    bool checks;
  };
  struct Replay {
    Program* program;
    Step first;
    Batches batches;
    int64_t start, end, completed;  // steps
    bool stalled;                   // the team gave up between two of them
  };

  static void replay_member(void* context, const Team& team) {
    auto* r = static_cast<Replay*>(context);
    r->program->replay(*r, team);
  }

  // Whether a call may begin on one thread while the calls since the last barrier still run on
  // others: what any of them writes and another touches must be the same tensor, shared alike.
  bool independent(const std::vector<Extent>& extents) const {
    for (const Extent& a : extents) {
      for (const Extent& b : since_barrier_) {
        if (!(a.written || b.written) || a.end <= b.begin || b.end <= a.begin) continue;
        const bool same = a.begin == b.begin && a.end == b.end;
        if (!(a.shared && b.shared && same)) return false;
      }
    }
    return true;
  }

  void replay(Replay& r, const Team& team) const {
    Step step = r.first;
    for (int64_t s = r.start; s < r.end; ++s) {
      step.first = r.first.first + s * r.batches.batch;
      const int64_t left = r.batches.end - step.first;
      step.rows = left < r.batches.batch ? left : r.batches.batch;
      step.iteration = r.first.iteration + s;
      if (r.batches.learning_rates) step.learning_rate = r.batches.learning_rates[s];
      if (team.rank == 0) {
        r.completed = s;
        if (team.size > 1 && s > r.start) r.stalled = team_stalls(team);
      }
      team.wait();
      if (team.size > 1 && r.stalled) return;
      if (!run_step(step, team)) return;
    }
    if (team.rank == 0) r.completed = r.end;
  }

  // All threads see the same failure: it is written before the barrier and read after it.
  bool run_step(const Step& step, const Team& team) const {
    bool together = true;
    for (const Call& call : calls_) {
      if (!call.follows && !together) team.wait();
      call.kernel(call.args.get(), step, team);
      together = call.checks;
      if (!call.checks) continue;
      team.wait();
      if (step.control->failure != Failure::kNone) return false;
    }
    return true;
  }

  int64_t capacity_;
  std::vector<Call> calls_;
  std::vector<Extent> since_barrier_;
  double work_ = 0.0;
  Pace pace_;
  Control control_{Failure::kNone, 0};
};

}  // namespace evengrad
