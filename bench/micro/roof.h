// What this machine can do at most, measured when first asked for and then remembered.
#pragma once
#include <string>

namespace evengrad::bench {

// Floating-point operations a second: multiply-adds in the registers of an instruction set.
double peak(const std::string& isa, int threads);

// Bytes read and written a second by memcpy between two arrays that take `bytes` together.
double copy_bandwidth(int threads, double bytes);

}  // namespace evengrad::bench
