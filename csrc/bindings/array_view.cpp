#include "array_view.h"

#include <new>

namespace evengrad::bindings {

std::string describe(py::handle object) {
  if (!py::isinstance<py::array>(object)) {
    return std::string(py::str(py::type::of(object).attr("__name__")));
  }
  const auto array = py::reinterpret_borrow<py::array>(object);
  std::string text = std::string(py::str(array.dtype())) + " of shape " +
                     std::string(py::str(array.attr("shape"))) + ", strides " +
                     std::string(py::str(array.attr("strides")));
  if (!array.writeable()) text += ", read-only";
  return text;
}

void refuse(const std::string& name, const std::string& rule, py::handle got) {
  const std::string text = name + ": " + rule + ", got " + describe(got);
  if (!py::isinstance<py::array>(got)) throw py::type_error(text);
  throw py::value_error(text);
}

void check_apart(const Borrowed& written, std::initializer_list<Borrowed> others, bool in_place) {
  for (const Borrowed& other : others) {
    if (!other.begin || written.end <= other.begin || other.end <= written.begin) continue;
    if (in_place && written.begin == other.begin && written.end == other.end) continue;
    throw py::value_error(std::string(written.name) + ": expected memory of its own, but it " +
                          "overlaps " + other.name);
  }
}

int64_t PyProgram::chunks_at_most(int64_t per_sample) const {
  return (per_sample * capacity() + kChunkRows - 1) / kChunkRows + 1;
}

ArrayView::ArrayView(PyProgram& program, py::handle object, const char* name, Access access)
    : program_(program), name_(name) {
  if (!py::isinstance<py::array>(object)) refuse(name, "expected a numpy array", object);
  array_ = py::reinterpret_borrow<py::array>(object);
  if (access == Access::kWrite && !array_.writeable()) {
    refuse(name, "expected a writeable array", object);
  }
  program.arrays.push_back(array_);
}

// float32 whose rows are lines of the cache: what evengrad._arena.tensor and vector make.
void ArrayView::check_rows(int64_t columns) const {
  if (!array_.dtype().equal(py::dtype::of<float>())) {
    refuse(name_, "expected float32 in native byte order", array_);
  }
  const int last = static_cast<int>(array_.ndim()) - 1;
  const bool contiguous = array_.shape(last) <= 1 || array_.strides(last) == sizeof(float);
  const bool aligned = reinterpret_cast<std::uintptr_t>(array_.data()) % kAlignment == 0;
  if (!contiguous || !aligned) {
    refuse(name_, "expected rows of adjacent floats that start on 64-byte boundaries", array_);
  }
  if (columns >= 0 && array_.shape(last) != columns) {
    refuse(name_, "expected " + std::to_string(columns) + " columns", array_);
  }
  if (array_.shape(last) == 0) refuse(name_, "expected at least one column", array_);
}

// The padding belongs to the array that owns the memory, and nobody else's bytes are in it.
void ArrayView::check_padding(int64_t rows, int64_t columns) const {
  const int64_t pitch = rows > 1 ? array_.strides(0) : 0;
  begin_ = static_cast<const char*>(array_.data());
  end_ = begin_ + (rows - 1) * pitch + padded(columns) * static_cast<int64_t>(sizeof(float));
  py::array owner = array_;
  while (owner.base() && py::isinstance<py::array>(owner.base())) {
    owner = py::reinterpret_borrow<py::array>(owner.base());
  }
  const char* low = static_cast<const char*>(owner.data());
  const char* high = low;
  for (py::ssize_t d = 0; d < owner.ndim(); ++d) {
    const py::ssize_t reach = (owner.shape(d) - 1) * owner.strides(d);
    (reach < 0 ? low : high) += reach;
  }
  if (begin_ < low || end_ > high + owner.itemsize()) {
    refuse(name_, "expected rows padded to a multiple of 16 floats inside the array's own memory",
           array_);
  }
}

Matrix ArrayView::matrix(int64_t rows, int64_t columns) const {
  if (array_.ndim() != 2) refuse(name_, "expected 2 dimensions", array_);
  check_rows(columns);
  const int64_t n = array_.shape(0), width = array_.shape(1);
  if (n == 0 || (rows >= 0 && n != rows)) {
    refuse(name_, rows >= 0 ? "expected " + std::to_string(rows) + " rows" : "expected rows",
           array_);
  }
  const py::ssize_t stride = n > 1 ? array_.strides(0) : padded(width) * 4;
  if (stride % kAlignment != 0 || stride < padded(width) * 4) {
    refuse(name_, "expected rows a multiple of 16 floats apart", array_);
  }
  check_padding(n, width);
  auto* data = static_cast<float*>(const_cast<void*>(array_.data()));
  return {data, n, width, stride / 4};
}

Tensor ArrayView::tensor(int64_t columns) const {
  const Matrix m = matrix(-1, columns);
  if (m.rows % program_.capacity() != 0) {
    refuse(name_,
           "expected a multiple of the program's capacity of " +
               std::to_string(program_.capacity()) + " rows",
           array_);
  }
  return {m.data, m.rows / program_.capacity(), m.columns, m.pitch};
}

Tensor ArrayView::like(const Tensor& other) const {
  const Tensor t = tensor(other.columns);
  if (t.per_sample == other.per_sample) return t;
  refuse(name_, "expected " + std::to_string(other.per_sample * program_.capacity()) + " rows",
         array_);
}

float* ArrayView::vector(int64_t columns) const {
  if (array_.ndim() != 1) refuse(name_, "expected 1 dimension", array_);
  check_rows(columns);
  check_padding(1, columns);
  return static_cast<float*>(const_cast<void*>(array_.data()));
}

const float* optional_input(PyProgram& program, const py::object& object, const char* name,
                            int64_t columns) {
  if (object.is_none()) return nullptr;
  return ArrayView(program, object, name, Access::kRead).vector(columns);
}

float* optional_output(PyProgram& program, const py::object& object, const char* name,
                       int64_t columns, std::initializer_list<Borrowed> inputs) {
  if (object.is_none()) return nullptr;
  const ArrayView view(program, object, name, Access::kWrite);
  float* data = view.vector(columns);
  check_apart(view.borrowed(), inputs);
  return data;
}

}  // namespace evengrad::bindings
