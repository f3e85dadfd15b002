#include "arrays.h"

#include <algorithm>
#include <deque>
#include <new>
#include <random>
#include <vector>

namespace evengrad::bench {

namespace {

constexpr std::size_t kPage = 4096, kStagger = 7 * 64;  // 7 lines: in time all 64 of a page

struct Block {
  ~Block() { ::operator delete(data, std::align_val_t{kPage}); }
  void reserve(std::size_t bytes) {
    if (bytes <= size) return;
    ::operator delete(data, std::align_val_t{kPage});
    data = nullptr, size = 0;
    data = ::operator new(bytes, std::align_val_t{kPage});
    size = bytes;
  }
  void* data = nullptr;
  std::size_t size = 0;
};

// Drawing for each number takes longer than the kernels. A prime: rows do not repeat.
constexpr int64_t kPeriod = 4093;
const std::vector<float>& draws() {
  static const std::vector<float> values = [] {
    std::mt19937 engine;
    std::vector<float> drawn(kPeriod);
    for (float& value : drawn) value = static_cast<float>(engine()) * 0x1p-32f;
    return drawn;
  }();
  return values;
}
int64_t place(const Random& random, int64_t index) {
  return (random.seed * 1021 + index) % kPeriod;
}

}  // namespace

float Random::at(int64_t index) const {
  return low + (high - low) * draws()[static_cast<std::size_t>(place(*this, index))];
}

void Random::fill(float* to, int64_t begin, int64_t count) const {
  for (int64_t done = 0; done < count;) {
    const int64_t from = place(*this, begin + done);
    const int64_t run = std::min(count - done, kPeriod - from);
    const float* drawn = draws().data() + from;
    for (int64_t i = 0; i < run; ++i) to[done + i] = low + (high - low) * drawn[i];
    done += run;
  }
}

void* Arrays::memory(std::size_t bytes) {
  static std::deque<Block> blocks;
  const auto i = static_cast<std::size_t>(next_++);
  if (i >= blocks.size()) blocks.emplace_back();
  blocks[i].reserve(bytes + kPage);
  return static_cast<char*>(blocks[i].data) + (i + 1) * kStagger % kPage;
}

Array Arrays::array(Shape shape) {
  int64_t pitch = padded(shape.columns);
  if (static_cast<std::size_t>(pitch) * sizeof(float) % kPage == 0) pitch += kPitchFloats;
  const auto floats = static_cast<std::size_t>(shape.rows * pitch);
  auto* data = static_cast<float*>(memory(floats * sizeof(float)));
  return {data, shape.rows, shape.columns, pitch, {next_, 0.0f, 0.0f}};
}

Array Arrays::zeros(Shape shape) {
  const Array a = array(shape);
  std::fill_n(a.data, a.rows * a.pitch, 0.0f);
  return a;
}

Array Arrays::random(Shape shape, float low, float high) {
  Array a = array(shape);
  a.random.low = low, a.random.high = high;
  for (int64_t r = 0; r < a.rows; ++r) {
    a.random.fill(&a.at(r, 0), r * a.columns, a.columns);
    std::fill(&a.at(r, 0) + a.columns, &a.at(r, 0) + a.pitch, 0.0f);
  }
  return a;
}

}  // namespace evengrad::bench
