#include "array_view.h"

#include <algorithm>
#include <cstring>

namespace evengrad::bindings {

namespace {

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

// The bytes of the array that owns the memory.
std::pair<const char*, const char*> memory_of(py::array owner) {
  while (owner.base() && py::isinstance<py::array>(owner.base())) {
    owner = py::reinterpret_borrow<py::array>(owner.base());
  }
  const char* low = static_cast<const char*>(owner.data());
  const char* high = low;
  for (py::ssize_t d = 0; d < owner.ndim(); ++d) {
    const py::ssize_t reach = (owner.shape(d) - 1) * owner.strides(d);
    (reach < 0 ? low : high) += reach;
  }
  return {low, high + owner.itemsize()};
}

float* floats_of(const py::array& array) {
  return static_cast<float*>(const_cast<void*>(array.data()));
}

bool may_be_one(const Extent& a, const Extent& b,
                std::initializer_list<std::pair<const char*, const char*>> in_place) {
  if (a.begin != b.begin || a.end != b.end) return false;
  return std::any_of(in_place.begin(), in_place.end(), [&](const auto& pair) {
    const auto is = [](const Extent& e, const char* name) { return !std::strcmp(e.name, name); };
    return (is(a, pair.first) && is(b, pair.second)) || (is(b, pair.first) && is(a, pair.second));
  });
}

}  // namespace

void refuse(const std::string& name, const std::string& rule, py::handle got) {
  const std::string text = name + ": " + rule + ", got " + describe(got);
  if (!py::isinstance<py::array>(got)) throw py::type_error(text);
  throw py::value_error(text);
}

py::array Arguments::accept(py::handle object, const char* name, Access access) {
  if (!py::isinstance<py::array>(object)) refuse(name, "expected a numpy array", object);
  auto array = py::reinterpret_borrow<py::array>(object);
  if (access == Access::kWrite && !array.writeable()) {
    refuse(name, "expected a writeable array", object);
  }
  program_.arrays.push_back(array);
  return array;
}

// float32 whose rows are lines of the cache, as evengrad._arena makes them, with padding that
// belongs to the array itself.
Matrix Arguments::rows(const py::array& array, const char* name, Access access, bool shared) {
  const int last = static_cast<int>(array.ndim()) - 1;
  const int64_t count = last ? array.shape(0) : 1, columns = array.shape(last);
  if (!array.dtype().equal(py::dtype::of<float>())) {
    refuse(name, "expected float32 in native byte order", array);
  }
  if (array.size() == 0) refuse(name, "expected at least one number", array);
  const int64_t width = padded(columns) * static_cast<int64_t>(sizeof(float));
  const int64_t stride = count > 1 ? array.strides(0) : width;
  const bool lines = (columns == 1 || array.strides(last) == sizeof(float)) &&
                     reinterpret_cast<std::uintptr_t>(array.data()) % kAlignment == 0 &&
                     stride % kAlignment == 0 && stride >= width;
  if (!lines) {
    refuse(name, "expected rows of adjacent floats, each on a 64-byte boundary", array);
  }
  const char* begin = static_cast<const char*>(array.data());
  const char* end = begin + (count - 1) * stride + width;
  const auto [low, high] = memory_of(array);
  if (begin < low || end > high) {
    refuse(name, "expected rows padded to a multiple of 16 floats inside the array's own memory",
           array);
  }
  extents_.push_back({name, begin, end, access == Access::kWrite, shared});
  return {floats_of(array), count, columns, stride / 4};
}

Matrix Arguments::matrix(py::handle object, const char* name, Access access, int64_t rows_,
                         int64_t columns) {
  const py::array array = accept(object, name, access);
  const bool fits = array.ndim() == 2 && (rows_ < 0 || array.shape(0) == rows_) &&
                    (columns < 0 || array.shape(1) == columns);
  if (!fits) {
    const auto size = [](int64_t n, const char* any) { return n < 0 ? any : std::to_string(n); };
    refuse(name, "expected shape (" + size(rows_, "rows") + ", " + size(columns, "columns") + ")",
           array);
  }
  return rows(array, name, access, false);
}

Tensor Arguments::batch(py::handle object, const char* name, Access access, int64_t columns) {
  const Matrix m = matrix(object, name, access, -1, columns);
  if (m.rows % program_.capacity() != 0) {
    refuse(name,
           "expected a multiple of the program's capacity of " +
               std::to_string(program_.capacity()) + " rows",
           object);
  }
  return {m.data, m.rows / program_.capacity(), m.columns, m.pitch};
}

Tensor Arguments::shared(py::handle object, const char* name, Access access, int64_t columns) {
  const Tensor tensor = batch(object, name, access, columns);
  extents_.back().shared = true;
  return tensor;
}

Tensor Arguments::batch_like(py::handle object, const char* name, Access access,
                             const Tensor& other) {
  const Matrix m =
      matrix(object, name, access, other.per_sample * program_.capacity(), other.columns);
  return {m.data, other.per_sample, m.columns, m.pitch};
}

Tensor Arguments::shared_like(py::handle object, const char* name, Access access,
                              const Tensor& other) {
  const Tensor tensor = batch_like(object, name, access, other);
  extents_.back().shared = true;
  return tensor;
}

float* Arguments::vector(py::handle object, const char* name, Access access, int64_t columns) {
  const py::array array = accept(object, name, access);
  if (array.ndim() != 1 || (columns >= 0 && array.shape(0) != columns)) {
    refuse(name, "expected shape (" + std::to_string(columns) + ",)", array);
  }
  return rows(array, name, access, false).data;
}

float* Arguments::optional_vector(py::handle object, const char* name, Access access,
                                  int64_t columns) {
  return object.is_none() ? nullptr : vector(object, name, access, columns);
}

void* Arguments::contiguous(py::handle object, const char* name, Access access,
                            const py::dtype& dtype, int64_t length, std::size_t alignment) {
  const py::array array = accept(object, name, access);
  const bool fits = array.dtype().equal(dtype) && array.ndim() == 1 && array.shape(0) == length &&
                    (length < 2 || array.strides(0) == array.itemsize()) &&
                    reinterpret_cast<std::uintptr_t>(array.data()) % alignment == 0;
  if (!fits) {
    refuse(name,
           "expected a contiguous " + std::string(py::str(dtype)) + " array of shape (" +
               std::to_string(length) + ",)",
           array);
  }
  const char* begin = static_cast<const char*>(array.data());
  extents_.push_back(
      {name, begin, begin + length * array.itemsize(), access == Access::kWrite, false});
  return const_cast<char*>(begin);
}

void Arguments::check(std::initializer_list<std::pair<const char*, const char*>> in_place) const {
  std::vector<Extent> sorted = extents_;
  std::sort(sorted.begin(), sorted.end(),
            [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    for (std::size_t j = i + 1; j < sorted.size() && sorted[j].begin < sorted[i].end; ++j) {
      const Extent &a = sorted[i], &b = sorted[j];
      if (!(a.written || b.written) || may_be_one(a, b, in_place)) continue;
      const Extent& output = a.written ? a : b;
      throw py::value_error(std::string(output.name) + ": expected memory of its own, but it " +
                            "overlaps " + (a.written ? b : a).name);
    }
  }
}

}  // namespace evengrad::bindings
