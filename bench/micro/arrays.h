// Arrays of the benchmarks, laid out as the package lays out its own: rows of whole cache lines and
// never whole pages apart, each array at another offset in its page.
#pragma once
#include <cstring>
#include <string>
#include <type_traits>

#include "../../csrc/arguments.h"

namespace evengrad::bench {

struct Shape {
  int64_t rows, columns;
  std::string name() const { return std::to_string(rows) + "x" + std::to_string(columns); }
};

// From `low` to `high`, evenly spread; what stands at `index` depends on it and `seed` alone.
struct Random {
  int64_t seed;
  float low, high;
  float at(int64_t index) const;
  void fill(float* to, int64_t begin, int64_t count) const;
};

struct Array {
  float* data;
  int64_t rows, columns, pitch;
  Random random;

  float& at(int64_t r, int64_t c) const { return data[r * pitch + c]; }
  // What stood there before a kernel overwrote it.
  double before(int64_t r, int64_t c) const { return double{random.at(r * columns + c)}; }
  Tensor tensor() const { return {data, 1, columns, pitch}; }
  Matrix matrix() const { return {data, rows, columns, pitch}; }
  double bytes() const { return sizeof(float) * static_cast<double>(rows * columns); }
};

// The arrays of one benchmark. Their memory goes on to the next one: fresh pages cost more than
// most kernels.
class Arrays {
 public:
  Array random(Shape shape, float low = -2.0f, float high = 2.0f);
  Array zeros(Shape shape);

  template <class T>
  T* of(int64_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto bytes = static_cast<std::size_t>(count) * sizeof(T);
    return static_cast<T*>(std::memset(memory(bytes), 0, bytes));
  }

 private:
  Array array(Shape shape);
  void* memory(std::size_t bytes);

  int next_ = 0;
};

}  // namespace evengrad::bench
