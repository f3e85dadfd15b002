// From Python objects to the kernels' pointers: borrow what fits exactly, explain what does not,
// copy nothing. All that protects memory is checked here, once, when a call is recorded.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../program.h"

namespace evengrad::bindings {

namespace py = pybind11;

// What Python sees as evengrad._core.Program: the list, and all that its pointers point into.
struct PyProgram {
  explicit PyProgram(int64_t capacity) : program(capacity) {}
  Program program;
  std::vector<py::object> arrays;
  std::vector<std::shared_ptr<void>> workspaces;
  std::vector<BatchNormForward> batch_norms;
  std::atomic<bool> running{false};
  bool labels = false;                                 // y of run_batches: int32 labels
  int64_t x_width = 0, y_width = 0, output_width = 0;  // numbers a sample; 0: none wanted

  int64_t capacity() const { return program.capacity(); }
  int64_t chunks_at_most(int64_t per_sample) const;  // over all row counts up to capacity
  template <class T>
  T* workspace(int64_t count);
};

[[noreturn]] void refuse(const std::string& name, const std::string& rule, py::handle got);

// An array argument: who it is and the bytes it may touch, padding included.
struct Borrowed {
  const char* name;
  const char* begin;
  const char* end;
};
// Raises unless no byte of `written` is also in one of `others`; equal extents pass if in_place.
void check_apart(const Borrowed& written, std::initializer_list<Borrowed> others,
                 bool in_place = false);

enum class Access { kRead, kWrite };

// An array accepted for a program, which keeps it alive.
class ArrayView {
 public:
  ArrayView(PyProgram& program, py::handle object, const char* name, Access access);

  Tensor tensor(int64_t columns = -1) const;           // (capacity * k, columns)
  Tensor like(const Tensor& other) const;              // the same shape as other
  Matrix matrix(int64_t rows, int64_t columns) const;  // (rows, columns), rows -1: any
  float* vector(int64_t columns) const;                // (columns,), padded
  template <class T>
  T* plain(int64_t length) const;  // (length,), contiguous, exactly T
  Borrowed borrowed() const { return {name_, begin_, end_}; }

 private:
  void check_rows(int64_t columns) const;
  void check_padding(int64_t rows, int64_t columns) const;

  PyProgram& program_;
  py::array array_;
  const char* name_;
  mutable const char *begin_ = nullptr, *end_ = nullptr;
};

// Vectors that may be None: null then.
const float* optional_input(PyProgram& program, const py::object& object, const char* name,
                            int64_t columns);
float* optional_output(PyProgram& program, const py::object& object, const char* name,
                       int64_t columns, std::initializer_list<Borrowed> inputs);

std::string describe(py::handle object);

template <class T>
T* ArrayView::plain(int64_t length) const {
  const py::dtype wanted = py::dtype::of<T>();
  if (!array_.dtype().equal(wanted) || array_.ndim() != 1 || array_.shape(0) != length ||
      (length > 1 && array_.strides(0) != static_cast<py::ssize_t>(sizeof(T)))) {
    refuse(name_,
           "expected a contiguous " + std::string(py::str(wanted)) + " array of shape (" +
               std::to_string(length) + ",)",
           array_);
  }
  begin_ = static_cast<const char*>(array_.data());
  end_ = begin_ + length * static_cast<int64_t>(sizeof(T));
  return static_cast<T*>(const_cast<void*>(array_.data()));
}

template <class T>
T* PyProgram::workspace(int64_t count) {
  const std::size_t bytes =
      (static_cast<std::size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  void* memory = ::operator new(bytes, std::align_val_t{kAlignment});
  __builtin_memset(memory, 0, bytes);
  workspaces.emplace_back(memory,
                          [](void* p) { ::operator delete(p, std::align_val_t{kAlignment}); });
  return static_cast<T*>(memory);
}

void bind_dense(py::class_<PyProgram>& program);
void bind_batch_norm(py::class_<PyProgram>& program);
void bind_elementwise(py::module_& module, py::class_<PyProgram>& program);
void bind_training(py::class_<PyProgram>& program);
void bind_replay(py::class_<PyProgram>& program);

}  // namespace evengrad::bindings
