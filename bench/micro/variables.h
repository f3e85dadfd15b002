// The variables of a model as the kernels that go over all of them are given them.
#pragma once
#include <algorithm>

#include "harness.h"

namespace evengrad::bench {

// About those of the network that README measures, and more than any cache holds.
constexpr int64_t kCounts[] = {270'000, 8'000'000};
constexpr int64_t kChunkFloats = 4096;  // as the package cuts them
constexpr int64_t kVariables = 4;

// All numbers of a model in one row, cut in chunks of a few variables. The others may be null.
struct Variables {
  Variables(int64_t count, Arrays& arrays) : gradient(arrays.random({1, count})) {
    chunk_count = (count + kChunkFloats - 1) / kChunkFloats;
    chunks = arrays.of<Chunk>(chunk_count);
    starts = arrays.of<int64_t>(kVariables + 1);
    moved = arrays.of<Moved>(chunk_count);
    for (int64_t v = 0; v <= kVariables; ++v) starts[v] = v * chunk_count / kVariables;
    for (int64_t i = 0; i < chunk_count; ++i) {
      chunks[i].gradient = gradient.data + i * kChunkFloats;
      chunks[i].length = std::min(kChunkFloats, count - i * kChunkFloats);
    }
  }
  void attach(float* Chunk::* member, const Array& array) const {
    for (int64_t i = 0; i < chunk_count; ++i) chunks[i].*member = array.data + i * kChunkFloats;
  }
  void attach_slot(int slot, const Array& array) const {
    for (int64_t i = 0; i < chunk_count; ++i) chunks[i].slot[slot] = array.data + i * kChunkFloats;
  }
  ChunkedVariables variables() const { return {chunks, starts, kVariables}; }
  Update update(Clip clip, double a, double b) const {
    return {variables(), nullptr, clip, a, b, 1e-7, false, nullptr, moved};
  }

  Array gradient;
  Chunk* chunks;
  int64_t* starts;
  Moved* moved;
  int64_t chunk_count;
};

}  // namespace evengrad::bench
