// Thresholds for the global norm that follow its own history. One thread computes them, behind the
// norms of the step and before its update; a step that fails or only accumulates leaves the history
// as it was.
#pragma once
#include "clip.h"

namespace evengrad::EVENGRAD_TARGET {

// Fails the step where clipping to the threshold leaves a variable that moves out of range; else
// hands the threshold on.
static inline bool hand_on(double* norms, int64_t count, double norm, double limit, double* health,
                           const Step& step) {
  const double factor = norm > limit ? limit / norm : 1.0;
  for (int64_t v = 0; v < count; ++v) {
    const double own = __builtin_sqrt(norms[v]);
    if (stays_finite(own, own * factor, step)) continue;
    fail(step.control, Failure::kGradient, v);
    return false;
  }
  norms[count] = limit;
  add_to_health(health, norm, norm > limit);
  return true;
}

// How many of n numbers in order are smaller.
static inline int64_t place_of(const double* ordered, int64_t n, double x) {
  int64_t begin = 0;
  while (n > 0) {
    const int64_t half = n / 2;
    const bool right = ordered[begin + half] < x;
    begin = right ? begin + half + 1 : begin;
    n = right ? n - half - 1 : half;
  }
  return begin;
}

// Numbers in order after one of them, if any, is replaced by another.
struct Replaced {
  const double* ordered;
  int64_t out, in;  // the place of what goes (or beyond all), the place of what comes
  double x;

  double at(int64_t k) const {
    if (k == in) return x;
    const int64_t other = k < in ? k : k - 1;
    return ordered[other < out ? other : other + 1];
  }
};

// Between the two nearest of n numbers in order, as numpy's percentile.
static inline double percentile_of(const Replaced& numbers, int64_t n, double percentile) {
  const double place = percentile / 100.0 * static_cast<double>(n - 1);
  int64_t low = static_cast<int64_t>(place);
  low = low < n - 1 ? low : n - 1;
  const double share = place - static_cast<double>(low), a = numbers.at(low);
  return share > 0.0 ? a + (numbers.at(low + 1) - a) * share : a;
}

// Seetharaman, Wichern, Pardo, Le Roux, 2020 (arXiv:2007.14469).
static void auto_clip(const AutoClip& a, const Step& step, const Team& team) {
  if (team.rank != 0 || !is_update(step)) return;
  const double norm = global_norm(a.norms, a.count);
  const bool full = *a.seen >= a.length;
  const int64_t had = full ? a.length : *a.seen, slot = *a.seen % a.length;
  const int64_t n = full ? had : had + 1;
  const int64_t out = full ? place_of(a.ordered, had, a.history[slot]) : had;
  int64_t in = place_of(a.ordered, had, norm);
  in = in > out ? in - 1 : in;
  const double limit = percentile_of({a.ordered, out, in, norm}, n, a.percentile);
  if (!hand_on(a.norms, a.count, norm, limit, a.health, step)) return;
  for (int64_t i = out; i < in; ++i) a.ordered[i] = a.ordered[i + 1];
  for (int64_t i = out; i > in; --i) a.ordered[i] = a.ordered[i - 1];
  a.ordered[in] = norm;
  a.history[slot] = norm;
  ++*a.seen;
}

// Kumar, Owen, Chowdhury, Guera, 2025 (arXiv:2504.02507). With z' = (norm - mean) / deviation
// beyond z the norm becomes mean + z^2 / z' deviation; the averages go on with that.
static void z_clip(const ZClip& a, const Step& step, const Team& team) {
  if (team.rank != 0 || !is_update(step)) return;
  const double norm = global_norm(a.norms, a.count);
  double &mean = a.statistic[0], &variance = a.statistic[1];
  const bool warm = *a.seen >= a.warm_up;
  const double above = norm - mean, reach = a.z * __builtin_sqrt(variance);
  const double limit = warm && above > reach ? mean + reach * (reach / above) : __builtin_inf();
  if (!hand_on(a.norms, a.count, norm, limit, a.health, step)) return;
  const double kept = norm > limit ? limit : norm;
  ++*a.seen;
  // Until then mean and variance of all norms so far.
  const double share = warm ? 1.0 - a.alpha : 1.0 / static_cast<double>(*a.seen);
  const double before = kept - mean;
  mean += share * before;
  const double after = kept - mean;
  variance += share * ((warm ? after : before) * after - variance);
}

}  // namespace evengrad::EVENGRAD_TARGET
