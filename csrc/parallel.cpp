// The threads behind a Team. Three backends: OpenMP, a pool of std::thread, and none.
#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace evengrad {

namespace {

// Long enough for a kernel to end on the other cores, short enough to leave a core that another
// process wants: about 20 us.
constexpr int kSpins = 600;

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Whether it was done within a spin.
template <class Done>
inline bool spin(Done done) {
  for (int i = 0; i < kSpins; ++i) {
    if (done()) return true;
    relax();
  }
  return false;
}

}  // namespace

using Clock = std::chrono::steady_clock;

struct Barrier {
  const Clock::time_point begin = Clock::now();
  std::atomic<int64_t> stalled{0};  // ns that members waited beyond a spin, all together
  alignas(kAlignment) std::atomic<int> arrived{0};
  alignas(kAlignment) std::atomic<int> phase{0};
  std::atomic<int> sleepers{0};
  std::mutex mutex;
  std::condition_variable wake;
  static constexpr int kPlaces = 64;
  std::atomic<int> core[kPlaces] = {};  // 1 + where a member went to sleep, by rank
};

namespace {

// Members that take turns on one core, each asleep while the other works, look to the scheduler
// like one busy thread, and it leaves them there for seconds. So of two that went to sleep on the
// same core the later one moves; from there the scheduler may do as it likes.
void leave_shared_core(const Team& team) {
#ifdef __linux__
  if (team.rank >= Barrier::kPlaces) return;
  const int here = sched_getcpu();
  team.barrier->core[team.rank].store(1 + here, std::memory_order_relaxed);
  for (int rank = 0; rank < team.rank; ++rank) {
    if (team.barrier->core[rank].load(std::memory_order_relaxed) != 1 + here) continue;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    cpu_set_t others = allowed;
    CPU_CLR(here, &others);
    if (sched_setaffinity(0, sizeof others, &others) != 0) return;  // as when there are none
    sched_setaffinity(0, sizeof allowed, &allowed);
    team.barrier->core[team.rank].store(1 + sched_getcpu(), std::memory_order_relaxed);
    return;
  }
#endif
}

}  // namespace

// Spins, then sleeps: a thread that yields in a loop uses up its share of a crowded core, one that
// sleeps has it when it wakes.
void Team::wait() const {
  if (size == 1) return;
  const int phase = barrier->phase.load(std::memory_order_relaxed);
  if (barrier->arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
    barrier->arrived.store(0, std::memory_order_relaxed);
    barrier->phase.store(phase + 1);
    if (barrier->sleepers.load() == 0) return;
    {
      std::lock_guard<std::mutex> lock(barrier->mutex);
    }  // none is between looking and sleeping
    barrier->wake.notify_all();
    return;
  }
  const auto passed = [&] { return barrier->phase.load(std::memory_order_acquire) != phase; };
  if (spin(passed)) return;
  leave_shared_core(*this);
  const Clock::time_point begin = Clock::now();
  {
    std::unique_lock<std::mutex> lock(barrier->mutex);
    barrier->sleepers.fetch_add(1);
    barrier->wake.wait(lock, [&] { return barrier->phase.load() != phase; });
    barrier->sleepers.fetch_sub(1);
  }
  const std::chrono::nanoseconds waited = Clock::now() - begin;
  barrier->stalled.fetch_add(waited.count(), std::memory_order_relaxed);
}

bool team_stalls(const Team& team) {
  using std::chrono::duration_cast;
  using std::chrono::nanoseconds;
  const int64_t elapsed = duration_cast<nanoseconds>(Clock::now() - team.barrier->begin).count();
  const int64_t stalled = team.barrier->stalled.load(std::memory_order_relaxed);
  // One descheduling is a few ms; a third of the time of all but one is what a team cannot win.
  const int64_t others = team.size - 1;
  return stalled > 6'000'000 * others && 3 * stalled > elapsed * others;
}

namespace {

// Cores this process may use: affinity and the cgroup's quota.
int available_cores() {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  if (FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    long long quota = 0, period = 0;
    if (std::fscanf(file, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0) {
      cores = std::min(cores, static_cast<int>((quota + period - 1) / period));
    }
    std::fclose(file);
  }
#endif
  return std::max(cores, 1);
}

std::atomic<int> wanted_threads{0};  // 0: not yet asked
std::mutex team_busy;                // one team in a process; who finds it busy runs alone
std::atomic<bool> forked{false};     // a child of fork has no threads but its own
#ifdef _OPENMP
std::atomic<bool> pool_wanted{false};
#endif

[[maybe_unused]] const int fork_handler =
    pthread_atfork(nullptr, nullptr, [] { forked.store(true); });

struct Job {
  void (*body)(void*, const Team&) = nullptr;
  void* context = nullptr;
  int size = 0;
};

class Pool {
 public:
  void run(const Job& job, Barrier* barrier) {
    while (workers_ < job.size - 1) start(++workers_);
    job_ = job;
    barrier_ = barrier;
    running_.store(job.size - 1, std::memory_order_relaxed);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      turn_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    job.body(job.context, Team{0, job.size, barrier});
    const auto finished = [&] { return running_.load(std::memory_order_acquire) == 0; };
    if (!spin(finished)) {
      while (!finished()) sched_yield();
    }
  }

 private:
  void start(int rank) {
    const int turn = turn_.load();
    std::thread([this, rank, turn] { work(rank, turn); }).detach();
  }

  void work(int rank, int turn) {
    for (;;) {
      await_turn_after(turn);
      turn = turn_.load(std::memory_order_acquire);
      if (rank >= job_.size) continue;
      job_.body(job_.context, Team{rank, job_.size, barrier_});
      running_.fetch_sub(1, std::memory_order_release);
    }
  }

  void await_turn_after(int turn) {
    const auto come = [&] { return turn_.load(std::memory_order_acquire) != turn; };
    if (spin(come)) return;
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, come);
  }

  int workers_ = 0;
  Job job_;
  Barrier* barrier_ = nullptr;
  std::atomic<int> running_{0}, turn_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

#ifndef EVENGRAD_SERIAL
Pool& pool() {
  static Pool* const instance = new Pool;  // never destroyed: its threads outlive exit handlers
  return *instance;
}
#endif

void run_alone(const Job& job) { job.body(job.context, Team{0, 1, nullptr}); }

void run_together(const Job& job) {
  Barrier barrier;
#ifdef _OPENMP
  if (!pool_wanted.load()) {
#pragma omp parallel num_threads(job.size)
    job.body(job.context, Team{omp_get_thread_num(), omp_get_num_threads(), &barrier});
    return;
  }
#endif
#ifdef EVENGRAD_SERIAL
  run_alone(job);
#else
  pool().run(job, &barrier);
#endif
}

}  // namespace

void run_team(int threads, void (*body)(void*, const Team&), void* context) {
  const Job job{body, context, std::min(threads, get_num_threads())};
  if (job.size <= 1 || !team_busy.try_lock()) return run_alone(job);
  std::lock_guard<std::mutex> lock(team_busy, std::adopt_lock);
  run_together(job);
}

int get_num_threads() {
#ifdef EVENGRAD_SERIAL
  return 1;
#endif
  if (forked.load()) return 1;
  int threads = wanted_threads.load();
  if (threads == 0) {
    threads = available_cores();
    wanted_threads.store(threads);
  }
#ifdef _OPENMP
  threads = std::min(threads, omp_get_max_threads());  // OMP_NUM_THREADS, threadpoolctl
#endif
  return threads;
}

void set_num_threads(int threads) { wanted_threads.store(std::max(threads, 1)); }

const char* thread_backend() {
#if defined(_OPENMP)
  return pool_wanted.load() ? "pool" : "openmp";
#elif defined(EVENGRAD_SERIAL)
  return "serial";
#else
  return "pool";
#endif
}

void use_pool() {
#ifdef _OPENMP
  pool_wanted.store(true);
#endif
}

}  // namespace evengrad
