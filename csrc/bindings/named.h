// Kinds that Python gives by name.
#pragma once
#include "py_program.h"

namespace evengrad::bindings {

template <class Kind>
struct Named {
  const char* name;
  Kind kind;
};
template <class Kind, std::size_t n>
Kind kind_named(const Named<Kind> (&table)[n], const char* argument, const std::string& name) {
  std::string known;
  for (const auto& entry : table) {
    if (name == entry.name) return entry.kind;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw py::value_error(std::string(argument) + ": expected one of " + known + ", got '" + name +
                        "'");
}

}  // namespace evengrad::bindings
