// Time of work shared by a team of threads.
#pragma once
#include <functional>

#include "../../csrc/parallel.h"

namespace evengrad::bench {

using Body = std::function<void(const Team& team)>;

// Seconds a call of body takes `threads` threads, a barrier after each, within one region; infinity
// if there were fewer threads to be had.
double time_calls(int threads, int64_t calls, const Body& body);

// The least of all regions within a twentieth of a second, some slices of a scheduler: what the
// machine can do when nobody else wants it.
double best_time(int threads, int64_t calls, const Body& body);

}  // namespace evengrad::bench
