#include "py_program.h"

namespace evengrad::bindings {

namespace {

// Null for an object that was never initialised. The collector may come by earlier still, when the
// first object of a class is being made and pybind11 looks up the layout that it is to have.
PyProgram* program_in(PyObject* object) {
  auto* instance = reinterpret_cast<py::detail::instance*>(object);
  if (!instance->simple_layout && !instance->nonsimple.values_and_holders) return nullptr;
  return instance->get_value_and_holder().value_ptr<PyProgram>();
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  const PyProgram* self = program_in(object);
  if (!self) return 0;
  for (const py::object& call : self->calls) Py_VISIT(call.ptr());
  return 0;
}

int clear(PyObject* object) {
  PyProgram* self = program_in(object);
  if (!self) return 0;
  std::vector<py::object> calls(self->calls.size(), py::none());
  calls.swap(self->calls);  // what lets go of them finds the program whole
  return 0;
}

}  // namespace

py::custom_type_setup collectable() {
  return py::custom_type_setup([](PyHeapTypeObject* type) {
    type->ht_type.tp_flags |= Py_TPFLAGS_HAVE_GC;
    type->ht_type.tp_traverse = traverse;
    type->ht_type.tp_clear = clear;
  });
}

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
