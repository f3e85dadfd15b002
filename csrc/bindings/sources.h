// The arrays that a replay over batches reads from and writes to.
#pragma once
#include "array_view.h"

namespace evengrad::bindings {

// A C-contiguous array of exactly T with `width` numbers in each of its rows (rows -1: any).
template <class T>
T* plain_source(py::handle object, const char* name, int64_t rows, int64_t width,
                bool write = false) {
  if (!py::isinstance<py::array>(object)) refuse(name, "expected a numpy array", object);
  const auto array = py::reinterpret_borrow<py::array>(object);
  const bool fits = array.dtype().equal(py::dtype::of<T>()) &&
                    (array.flags() & py::array::c_style) && array.ndim() >= 1 &&
                    (rows < 0 || array.shape(0) == rows) &&
                    array.size() == array.shape(0) * width &&
                    reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) == 0;
  if (!fits || (write && !array.writeable())) {
    refuse(name,
           "expected a " + std::string(write ? "writeable " : "") + "C-contiguous " +
               std::string(py::str(py::dtype::of<T>())) + " array of " +
               (rows < 0 ? "rows" : std::to_string(rows) + " rows") + " of " +
               std::to_string(width) + " numbers",
           object);
  }
  return static_cast<T*>(const_cast<void*>(array.data()));
}

// What is legal in a source; of float32 that were looked at before nothing needs to be said.
struct Legal {
  bool trusted;
  float low, high;
};

// Rows of `width` numbers of any type that gather converts, adjacent within a row.
Source source_of(py::handle object, const char* name, int64_t rows, int64_t width,
                 const Legal& legal);

// Whether two arrays have memory in common.
bool overlap(const py::array& a, const py::array& b);

}  // namespace evengrad::bindings
