#include "py_program.h"

namespace evengrad::bindings {

std::vector<py::object> arguments_of(const std::string& method,
                                     const std::vector<Parameter>& parameters, const py::args& args,
                                     const py::kwargs& kwargs) {
  if (args.size() > parameters.size()) {
    throw py::type_error(method + ": expected at most " + std::to_string(parameters.size()) +
                         " arguments, got " + std::to_string(args.size()));
  }
  std::vector<py::object> values;
  for (const py::handle value : args) values.push_back(py::reinterpret_borrow<py::object>(value));
  std::size_t used = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const char* name = parameters[i].name;
    const bool named = kwargs.contains(name);
    used += named;
    if (i < args.size()) {
      if (named) throw py::type_error(method + ": got " + name + " twice");
      continue;
    }
    if (!named && !parameters[i].fallback) {
      throw py::type_error(method + ": expected an argument for " + name);
    }
    values.push_back(named ? py::object(kwargs[name]) : parameters[i].fallback);
  }
  if (used == kwargs.size()) return values;
  for (const auto& item : kwargs) {
    const std::string name = py::str(item.first);
    const bool known = std::any_of(parameters.begin(), parameters.end(),
                                   [&](const Parameter& p) { return name == p.name; });
    if (!known) throw py::type_error(method + ": there is no argument " + name);
  }
  return values;
}

}  // namespace evengrad::bindings
