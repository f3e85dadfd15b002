// A recorded list of kernel calls and its replay, step after step, in one region of threads; calls
// of the host divide each step into segments with a region each. A list may have parts, which share
// what they point into and run one by one.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "pace.h"
#include "parallel.h"

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

// What the calling thread does between two regions of a step; a failure ends the step.
using HostCall = std::function<Failure(int64_t rows)>;

class Program {
 public:
  explicit Program(int64_t capacity) : capacity_(capacity) {}

  template <class Args>
  void record(KernelOf<Args> kernel, const Args& args, const Flow& flow) {
    Segment& segment = segments_.back();
    const bool first = segment.calls.empty();
    const bool after_check = !first && segment.calls.back().checks;
    if (first) just_checked_ = false;
    if (first || after_check) since_barrier_.clear();
    // What may fail must not do so while others still look whether an earlier call did.
    const bool waits = !independent(flow.extents) || (flow.checks && just_checked_);
    if (waits) since_barrier_.clear();
    just_checked_ = flow.checks || (just_checked_ && !waits);
    since_barrier_.insert(since_barrier_.end(), flow.extents.begin(), flow.extents.end());
    segment.calls.push_back({kernel.call, std::make_shared<Args>(args), waits, flow.checks});
    segment.work += flow.work;
  }

  // Ends a segment: what follows waits for the call, which finds done what was recorded before.
  void record(HostCall call) {
    segments_.back().then = std::move(call);
    segments_.emplace_back();
    since_barrier_.clear();
  }

  // What is recorded from here on is a part of its own. Returns its number; the first is 0.
  std::size_t begin_part() {
    parts_.push_back(segments_.size());
    segments_.emplace_back();
    since_barrier_.clear();
    return parts_.size() - 1;
  }

  // Returns the number of steps completed: fewer than asked for where control() has a failure.
  int64_t run(const Step& first, const Batches& batches, std::size_t part = 0) {
    control_ = {Failure::kNone, 0};
    Step begin = first;
    begin.control = &control_;
    Segment* const start = segments_.data() + parts_[part];
    Segment* const stop =
        segments_.data() + (part + 1 < parts_.size() ? parts_[part + 1] : segments_.size());
    if (stop - start == 1) return run_segment(*start, begin, batches, 0, batches.steps);
    for (int64_t s = 0; s < batches.steps; ++s) {
      if (!run_step(start, stop, begin, batches, s)) return s;
    }
    return batches.steps;
  }

  int64_t capacity() const { return capacity_; }
  std::size_t parts() const { return parts_.size(); }
  // Regions of a step: one a part, and one more for each call of the host.
  std::size_t segments() const { return segments_.size() - parts_.size() + 1; }
  std::size_t size() const {
    std::size_t calls = segments_.size() - parts_.size();
    for (const Segment& segment : segments_) calls += segment.calls.size();
    return calls;
  }
  // About how many floating-point operations a sample, so far.
  double work() const {
    double work = 0.0;
    for (const Segment& segment : segments_) work += segment.work;
    return work;
  }
  const Control& control() const { return control_; }

 private:
  struct Call {
    Kernel kernel;
    std::shared_ptr<const void> args;
    bool waits;  // at a barrier before it
    bool checks;
  };
  struct Segment {
    std::vector<Call> calls = {};
    double work = 0.0;
    HostCall then = {};  // none after the last
    Pace pace = {};
  };
  // One region of threads: steps [start, stop) of a segment, as many as were completed.
  struct Region {
    const Segment* segment;
    Step first;
    Batches batches;
    int64_t start, stop, completed;  // steps
    bool stalled;                    // the team gave up between two of them
  };

  static int64_t now() {
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  }

  static Step step_of(const Step& first, const Batches& batches, int64_t s) {
    Step step = first;
    step.first = first.first + s * batches.batch;
    const int64_t left = batches.end - step.first;
    step.rows = left < batches.batch ? left : batches.batch;
    step.iteration = first.iteration + s;
    if (batches.learning_rates) step.learning_rate = batches.learning_rates[s];
    return step;
  }

  // Steps [start, stop) of a segment, in turns of one region each. Returns the step that it ended
  // before: fewer than `stop` where a kernel failed.
  int64_t run_segment(Segment& segment, const Step& first, const Batches& batches, int64_t start,
                      int64_t stop) {
    const double work = segment.work * static_cast<double>(batches.batch);
    Region region{&segment, first, batches, start, start, start, false};
    while (region.completed < stop && control_.failure == Failure::kNone) {
      const int64_t begin = now();
      const Pace::Turn turn = segment.pace.next(work, get_num_threads(), begin);
      region.start = region.completed;
      region.stop = region.start + std::min(turn.steps, stop - region.start);
      region.stalled = false;
      run_team(turn.threads, region_member, &region);
      const int64_t end = now(), steps = region.completed - region.start;
      segment.pace.record(turn, steps, end - begin, region.stalled, end);
    }
    return region.completed;
  }

  bool run_step(Segment* start, Segment* stop, const Step& first, const Batches& batches,
                int64_t s) {
    for (Segment* at = start; at != stop; ++at) {
      Segment& segment = *at;
      if (run_segment(segment, first, batches, s, s + 1) == s) return false;
      if (!segment.then) continue;
      control_.failure = segment.then(step_of(first, batches, s).rows);
      if (control_.failure != Failure::kNone) return false;
    }
    return true;
  }

  static void region_member(void* context, const Team& team) {
    replay(*static_cast<Region*>(context), team);
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

  static void replay(Region& r, const Team& team) {
    for (int64_t s = r.start; s < r.stop; ++s) {
      const Step step = step_of(r.first, r.batches, s);
      if (team.rank == 0) {
        r.completed = s;
        if (team.size > 1 && s > r.start) r.stalled = team_stalls(team);
      }
      team.wait();
      if (team.size > 1 && r.stalled) return;
      if (!run_calls(r.segment->calls, step, team)) return;
    }
    if (team.rank == 0) r.completed = r.stop;
  }

  // All threads see the same failure: it is written before the barrier and read after it, and the
  // next one is not written before another barrier.
  static bool run_calls(const std::vector<Call>& calls, const Step& step, const Team& team) {
    for (const Call& call : calls) {
      if (call.waits) team.wait();
      call.kernel(call.args.get(), step, team);
      if (!call.checks) continue;
      team.wait();
      if (step.control->failure != Failure::kNone) return false;
    }
    return true;
  }

  int64_t capacity_;
  std::vector<Segment> segments_ = std::vector<Segment>(1);
  std::vector<std::size_t> parts_ = {0};  // the first segment of each
  std::vector<Extent> since_barrier_;
  bool just_checked_ = false;  // no barrier since threads looked for a failure
  Control control_{Failure::kNone, 0};
};

}  // namespace evengrad
