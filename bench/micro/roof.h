// What this machine can do at most: measured when first asked for, and anew when somebody reached
// more, since then something else had kept it busy.
#pragma once
#include <string>

namespace evengrad::bench {

// Floating-point operations a second: multiply-adds in the registers of an instruction set.
double peak(const std::string& isa, int threads, double reached = 0.0);

// Bytes read and written a second by memcpy between two arrays that take `bytes` together.
double copy_bandwidth(int threads, double bytes, double reached = 0.0);

}  // namespace evengrad::bench
