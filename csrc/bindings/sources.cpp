#include "sources.h"

namespace evengrad::bindings {

namespace {

struct Known {
  char kind;
  py::ssize_t size;
  Dtype dtype;
};
constexpr Known kKnown[] = {
    {'f', 4, Dtype::kFloat32}, {'f', 8, Dtype::kFloat64}, {'f', 2, Dtype::kFloat16},
    {'u', 1, Dtype::kUint8},   {'u', 2, Dtype::kUint16},  {'u', 4, Dtype::kUint32},
    {'u', 8, Dtype::kUint64},  {'i', 1, Dtype::kInt8},    {'i', 2, Dtype::kInt16},
    {'i', 4, Dtype::kInt32},   {'i', 8, Dtype::kInt64},   {'b', 1, Dtype::kUint8},
};

const Dtype* dtype_of(const py::array& array) {
  const py::dtype dtype = array.dtype();
  if (dtype.byteorder() != '=' && dtype.byteorder() != '|') return nullptr;
  for (const Known& known : kKnown) {
    if (known.kind == dtype.kind() && known.size == dtype.itemsize()) return &known.dtype;
  }
  return nullptr;
}

// Whether the numbers of a row are adjacent; rows themselves may be anywhere.
bool adjacent(const py::array& array) {
  py::ssize_t stride = array.itemsize();
  for (py::ssize_t d = array.ndim() - 1; d > 0; --d) {
    if (array.shape(d) > 1 && array.strides(d) != stride) return false;
    stride *= array.shape(d);
  }
  return true;
}

bool aligned(const py::array& array, int64_t pitch) {
  const auto address = reinterpret_cast<std::uintptr_t>(array.data());
  return address % static_cast<std::size_t>(array.itemsize()) == 0 && pitch % array.itemsize() == 0;
}

// The bytes from the first number to behind the last.
std::pair<const char*, const char*> bytes_of(const py::array& array) {
  const char* low = static_cast<const char*>(array.data());
  const char* high = low;
  for (py::ssize_t d = 0; d < array.ndim(); ++d) {
    const py::ssize_t reach = (array.shape(d) - 1) * array.strides(d);
    (reach < 0 ? low : high) += reach;
  }
  return {low, high + array.itemsize()};
}

}  // namespace

Source source_of(py::handle object, const char* name, int64_t rows, int64_t width,
                 const Legal& legal) {
  if (!py::isinstance<py::array>(object)) refuse(name, "expected a numpy array", object);
  const auto array = py::reinterpret_borrow<py::array>(object);
  const Dtype* dtype = dtype_of(array);
  const bool shaped = array.ndim() >= 1 && (rows < 0 || array.shape(0) == rows) &&
                      array.size() == array.shape(0) * width;
  const int64_t pitch = shaped && array.shape(0) > 1 ? array.strides(0) : 0;
  if (!dtype || !shaped || !adjacent(array) || !aligned(array, pitch)) {
    refuse(name,
           "expected an array of floats, integers or bool, with adjacent and aligned numbers in "
           "each of its " +
               (rows < 0 ? "" : std::to_string(rows) + " ") + "rows of " + std::to_string(width),
           object);
  }
  const bool trusted = legal.trusted && *dtype == Dtype::kFloat32;
  return {array.data(), *dtype, pitch, trusted, legal.low, legal.high};
}

bool overlap(const py::array& a, const py::array& b) {
  const auto [begin, end] = bytes_of(a);
  const auto [other, behind] = bytes_of(b);
  return begin < behind && other < end;
}

}  // namespace evengrad::bindings
