// What Python sees as evengrad._core.Program, and how its methods take their arguments.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../program.h"

namespace evengrad::bindings {

namespace py = pybind11;

enum class Access { kRead, kWrite };

// The recorded list with all that its pointers point into.
struct PyProgram {
  explicit PyProgram(int64_t capacity) : program(capacity) {}

  int64_t capacity() const { return program.capacity(); }
  // Chunks of rows that a kernel may need, over all numbers of samples up to the capacity.
  int64_t chunks_at_most(int64_t per_sample) const {
    return (per_sample * capacity() + kChunkRows - 1) / kChunkRows + 1;
  }
  // Zeroed memory that lives as long as the program.
  template <class T>
  T* workspace(int64_t count) {
    const std::size_t bytes =
        (static_cast<std::size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    void* memory = ::operator new(bytes, std::align_val_t{kAlignment});
    std::memset(memory, 0, bytes);
    workspaces.emplace_back(memory,
                            [](void* p) { ::operator delete(p, std::align_val_t{kAlignment}); });
    return static_cast<T*>(memory);
  }

  // Only what a replay does not read may change while one runs.
  void expect_idle() const {
    if (!running) return;
    throw std::runtime_error(
        "Program: already running, in another thread or around the Python code that asks; a "
        "layer, loss or metric cannot use what is computing with it");
  }

  // A copy of a list that lives as long.
  template <class T>
  const T* kept(const std::vector<T>& list) {
    T* memory = workspace<T>(static_cast<int64_t>(list.size()));
    std::copy(list.begin(), list.end(), memory);
    return memory;
  }

  Program program;
  std::vector<py::object> arrays;
  std::vector<py::object> calls;  // of Python, in the order of the program
  std::exception_ptr error;       // what one of them raised
  std::vector<std::shared_ptr<void>> workspaces;
  std::vector<std::pair<BatchNormForward, std::vector<Extent>>> batch_norms;
  std::atomic<bool> running{false};
  // Numbers a sample that run_batches reads and writes; 0: none, or not yet known.
  int64_t x_width = 0, target_width = 0, output_width = 0;
  bool labels = false;
  int64_t accumulation = 1;  // steps of an update
  Update update{};           // the last one recorded, for those who watch it
};

// A named argument of a method; one with a fallback may be left out.
struct Parameter {
  const char* name;
  py::object fallback = {};
};

// Positional and named arguments in the order of the parameters, or one short line.
std::vector<py::object> arguments_of(const std::string& method,
                                     const std::vector<Parameter>& parameters, const py::args& args,
                                     const py::kwargs& kwargs);

template <class T>
T converted(const py::object& object, const char* name) {
  if constexpr (std::is_same_v<T, py::object>) {
    return object;
  } else {
    try {
      return py::cast<T>(object);
    } catch (const py::cast_error&) {
      const char* wanted = std::is_same_v<T, std::string> ? "a string"
                           : std::is_same_v<T, bool>      ? "a bool"
                           : std::is_arithmetic_v<T>      ? "a number in range"
                                                          : "a sequence";
      throw py::type_error(std::string(name) + ": expected " + wanted + ", got " +
                           std::string(py::str(py::type::of(object).attr("__name__"))));
    }
  }
}

template <class Result, class... Ts, std::size_t... i>
Result call(Result (*method)(PyProgram&, Ts...), PyProgram& self,
            const std::vector<py::object>& values, const std::vector<Parameter>& parameters,
            std::index_sequence<i...>) {
  return method(self, converted<Ts>(values[i], parameters[i].name)...);
}

// Adds a method. pybind11's own conversion would answer a wrong argument with the text of all
// arrays of the call.
template <class Result, class... Ts>
void define(py::class_<PyProgram>& program, const char* name, Result (*method)(PyProgram&, Ts...),
            std::vector<Parameter> parameters) {
  program.def(name, [=](PyProgram& self, const py::args& args, const py::kwargs& kwargs) {
    const auto values = arguments_of(name, parameters, args, kwargs);
    self.expect_idle();
    return call(method, self, values, parameters, std::index_sequence_for<Ts...>{});
  });
}

void bind_dense(py::class_<PyProgram>& program);
void bind_batch_norm(py::class_<PyProgram>& program);
void bind_layer_norm(py::class_<PyProgram>& program);
void bind_random(py::class_<PyProgram>& program);
void bind_elementwise(py::module_& module, py::class_<PyProgram>& program);
void bind_losses(py::module_& module, py::class_<PyProgram>& program);
void bind_training(py::class_<PyProgram>& program);
void bind_shaping(py::class_<PyProgram>& program);
void bind_updates(py::class_<PyProgram>& program);
void bind_optimizers(py::class_<PyProgram>& program);
void bind_health(py::class_<PyProgram>& program);
void bind_replay(py::class_<PyProgram>& program);
// Lets Python's collector find cycles through the calls: a layer may know the model it is part of.
py::custom_type_setup collectable();

}  // namespace evengrad::bindings
