// Table of contents of evengrad._core.
#include "array_view.h"

namespace evengrad::bindings {

namespace {

py::dict config() {
  py::dict d;
  d["version"] = EVENGRAD_VERSION;
  d["isa"] = kernels().isa;
  d["threads"] = get_num_threads();
  d["backend"] = thread_backend();
  d["compiler"] = EVENGRAD_COMPILER;
  return d;
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  if (*kernels_error()) throw py::value_error(kernels_error());
  using namespace py::literals;
  module.doc() = "Recorded kernels; see _core.pyi.";
  module.def("config", config);
  module.def("get_num_threads", get_num_threads);
  module.def("set_num_threads", set_num_threads, "threads"_a);
  module.def("use_pool", use_pool);
  py::class_<PyProgram> program(module, "Program", "A list of kernel calls, recorded once.",
                                collectable());
  bind_replay(program);
  bind_dense(program);
  bind_batch_norm(program);
  bind_layer_norm(program);
  bind_elementwise(module, program);
  bind_random(program);
  bind_losses(module, program);
  bind_training(program);
  bind_shaping(program);
  bind_updates(program);
  bind_optimizers(program);
  bind_health(program);
}

}  // namespace evengrad::bindings
