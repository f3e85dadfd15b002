// Lists of variables and what belongs to them, as the kernels of the end of a step take them.
#pragma once
#include <string>
#include <vector>

#include "array_view.h"
#include "named.h"

namespace evengrad::bindings {

inline const Named<Clip> kClips[] = {
    {"none", Clip::kNone},         {"value", Clip::kValue},
    {"norm", Clip::kNorm},         {"global_norm", Clip::kGlobalNorm},
    {"adaptive", Clip::kAdaptive},
};
// Numbers of norms for so many variables: the threshold of adaptive clipping stands behind.
inline int64_t norms_for(int64_t variables, Clip clip) {
  return variables + (clip == Clip::kAdaptive ? 1 : 0);
}

// Variables, or what belongs to them, as matrices; a vector has one row.
using Matrices = std::vector<Matrix>;
Matrices matrices_of(Arguments& a, const py::object& arrays, const char* name, Access access);

// Raises with `name` unless b has the shapes of a.
void check_shapes(const Matrices& a, const Matrices& b, const char* name,
                  const char* others = "gradients");
void check_slots(const std::vector<py::object>& slots, std::size_t wanted);

// Gradients, values (may be empty) and slots (likewise) in pieces. Rows with their padding; what
// may lie between them is not touched.
ChunkedVariables chunked(PyProgram& self, const Matrices& gradients, const Matrices& values,
                         const std::vector<Matrices>& slots);

// What all updates have in common. Slots may be None where a kernel can do without.
Update update_of(PyProgram& self, Arguments& a, const py::object* values,
                 const py::object& gradients, const std::vector<py::object>& slots,
                 const py::object& norms, const std::string& clip, const py::object& decays);

// What an update leaves behind for those who watch it.
Extent extent_of_moved(const Update& update, Access access);

// [kHealthSums], or null where None is given.
double* health_of(Arguments& a, const py::object& health);

}  // namespace evengrad::bindings
