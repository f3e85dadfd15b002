// From Python objects to the kernels' pointers: borrow what fits exactly, explain what does not,
// copy nothing. All that protects memory is checked here, once, when a call is recorded.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "py_program.h"

namespace evengrad::bindings {

[[noreturn]] void refuse(const std::string& name, const std::string& rule, py::handle got);

// The arrays of one call: what they are, which bytes they cover with their padding, and whether
// the kernel writes them. The program keeps them alive.
class Arguments {
 public:
  explicit Arguments(PyProgram& program) : program_(program) {}

  // A batch, (capacity * k, columns); any number of columns where -1. A shared one is split among
  // threads by share_of.
  Tensor batch(py::handle object, const char* name, Access access, int64_t columns = -1);
  Tensor shared(py::handle object, const char* name, Access access, int64_t columns = -1);
  Tensor shared_like(py::handle object, const char* name, Access access, const Tensor& other);
  Tensor batch_like(py::handle object, const char* name, Access access, const Tensor& other);
  Matrix matrix(py::handle object, const char* name, Access access, int64_t rows, int64_t columns);
  float* vector(py::handle object, const char* name, Access access, int64_t columns);
  float* optional_vector(py::handle object, const char* name, Access access, int64_t columns);
  template <class T>
  T* plain(py::handle object, const char* name, Access access, int64_t length);

  // Makes an output share no byte with another argument; the named pairs may be one array.
  void check(std::initializer_list<std::pair<const char*, const char*>> in_place = {}) const;
  const std::vector<Extent>& extents() const { return extents_; }
  // What an earlier call left for this one.
  void add(const Extent& extent) { extents_.push_back(extent); }

 private:
  py::array accept(py::handle object, const char* name, Access access);
  Matrix rows(const py::array& array, const char* name, Access access, bool shared);
  void* contiguous(py::handle object, const char* name, Access access, const py::dtype& dtype,
                   int64_t length, std::size_t alignment);

  PyProgram& program_;
  std::vector<Extent> extents_;
};

template <class T>
T* Arguments::plain(py::handle object, const char* name, Access access, int64_t length) {
  return static_cast<T*>(contiguous(object, name, access, py::dtype::of<T>(), length, alignof(T)));
}

}  // namespace evengrad::bindings
