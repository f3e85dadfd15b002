// Gradient norms, clipping and updates over lists of variables.
#include "updates.h"

namespace evengrad::bindings {

namespace {

// Lengths of the pieces of n floats, small enough for threads to share: equal ones, and as many as
// 2, 4, 8 or a multiple of 16 threads can share evenly.
constexpr int64_t kChunkFloats = 4096;
int64_t chunk_length(int64_t n) {
  const int64_t least = (n + kChunkFloats - 1) / kChunkFloats;
  int64_t even = 1;
  while (even < least && even < 16) even *= 2;
  const int64_t count = (least + even - 1) / even * even;
  return padded((n + count - 1) / count);
}

bool has_gaps(const Matrix& m) { return m.rows > 1 && m.pitch != padded(m.columns); }

}  // namespace

Matrices matrices_of(Arguments& a, const py::object& arrays, const char* name, Access access) {
  if (!py::isinstance<py::list>(arrays) && !py::isinstance<py::tuple>(arrays)) {
    refuse(name, "expected a list of arrays", arrays);
  }
  Matrices result;
  for (const py::handle object : arrays) {
    const bool flat =
        py::isinstance<py::array>(object) && py::reinterpret_borrow<py::array>(object).ndim() == 1;
    if (flat) {
      const int64_t n = py::reinterpret_borrow<py::array>(object).shape(0);
      result.push_back({a.vector(object, name, access, n), 1, n, padded(n)});
    } else {
      result.push_back(a.matrix(object, name, access, -1, -1));
    }
  }
  return result;
}

void check_slots(const std::vector<py::object>& slots, std::size_t wanted) {
  if (slots.size() != wanted) {
    throw py::value_error("slots: expected " + std::to_string(wanted) + " lists of arrays, got " +
                          std::to_string(slots.size()));
  }
  for (const py::object& slot : slots) {
    if (slot.is_none()) refuse("slots", "expected a list of arrays", slot);
  }
}

void check_shapes(const Matrices& a, const Matrices& b, const char* name, const char* others) {
  bool fits = a.size() == b.size();
  for (std::size_t i = 0; fits && i < a.size(); ++i) {
    fits = a[i].rows == b[i].rows && a[i].columns == b[i].columns;
  }
  if (fits) return;
  throw py::value_error(std::string(name) + ": expected arrays of the shapes of the " + others);
}

ChunkedVariables chunked(PyProgram& self, const Matrices& gradients, const Matrices& values,
                         const std::vector<Matrices>& slots) {
  std::vector<Chunk> chunks;
  std::vector<int64_t> starts{0};
  for (std::size_t v = 0; v < gradients.size(); ++v) {
    const Matrix& g = gradients[v];
    bool gaps = has_gaps(g) || (!values.empty() && has_gaps(values[v]));
    for (const Matrices& slot : slots) gaps = gaps || (!slot.empty() && has_gaps(slot[v]));
    const int64_t rows = gaps ? g.rows : 1;
    const int64_t length = gaps ? padded(g.columns) : g.rows * padded(g.columns);
    const auto at = [&](const Matrix& m, int64_t row, int64_t column) {
      return m.data + row * m.pitch + column;
    };
    const int64_t piece = chunk_length(length);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t begin = 0; begin < length; begin += piece) {
        Chunk chunk{};
        chunk.gradient = at(g, row, begin);
        if (!values.empty()) chunk.value = at(values[v], row, begin);
        for (std::size_t s = 0; s < slots.size(); ++s) {
          if (!slots[s].empty()) chunk.slot[s] = at(slots[s][v], row, begin);
        }
        chunk.length = std::min(piece, length - begin);
        chunks.push_back(chunk);
      }
    }
    starts.push_back(static_cast<int64_t>(chunks.size()));
  }
  return {self.kept(chunks), self.kept(starts), static_cast<int64_t>(gradients.size())};
}

double* health_of(Arguments& a, const py::object& health) {
  return health.is_none() ? nullptr
                          : a.plain<double>(health, "health", Access::kWrite, kHealthSums);
}

namespace {

void gradient_norms(PyProgram& self, py::object gradients, py::object norms, std::string clip,
                    py::object health) {
  Arguments a(self);
  GradientNorms args{};
  args.clip = kind_named(kClips, "clip", clip);
  const Matrices g = matrices_of(a, gradients, "gradients", Access::kRead);
  const int64_t count = norms_for(static_cast<int64_t>(g.size()), args.clip);
  args.norms = a.plain<double>(norms, "norms", Access::kWrite, count);
  args.health = health_of(a, health);
  a.check();
  args.variables = chunked(self, g, {}, {});
  args.partial = self.workspace<double>(2 * args.variables.starts[g.size()]);
  self.program.record(kernels().gradient_norms, args, {a.extents(), true});
}

}  // namespace

Extent extent_of_moved(const Update& update, Access access) {
  const int64_t chunks = update.variables.starts[update.variables.count];
  const auto* begin = reinterpret_cast<const char*>(update.moved);
  const auto* end = reinterpret_cast<const char*>(update.moved + chunks);
  return {"moved", begin, end, access == Access::kWrite, false};
}

Update update_of(PyProgram& self, Arguments& a, const py::object* values,
                 const py::object& gradients, const std::vector<py::object>& slots,
                 const py::object& norms, const std::string& clip, const py::object& decays) {
  Update args{};
  args.clip = kind_named(kClips, "clip", clip);
  const Access access = values ? Access::kRead : Access::kWrite;
  const Matrices g = matrices_of(a, gradients, "gradients", access);
  Matrices w;
  if (values) {
    w = matrices_of(a, *values, "values", Access::kWrite);
    check_shapes(g, w, "values");
  }
  std::vector<Matrices> s;
  for (const py::object& slot : slots) {
    s.emplace_back();
    if (slot.is_none()) continue;
    s.back() = matrices_of(a, slot, "slots", Access::kWrite);
    check_shapes(g, s.back(), "slots");
  }
  const int64_t count = norms_for(static_cast<int64_t>(g.size()), args.clip);
  args.norms = a.plain<double>(norms, "norms", Access::kRead, count);
  if (!decays.is_none()) {
    args.decays = a.plain<double>(decays, "decays", Access::kRead, static_cast<int64_t>(g.size()));
  }
  a.check();
  args.variables = chunked(self, g, w, s);
  const int64_t chunks = args.variables.starts[g.size()];
  args.moved = self.workspace<Moved>(chunks);
  a.add(extent_of_moved(args, Access::kWrite));
  if (values) self.update = args;
  return args;
}

namespace {

void clip(PyProgram& self, py::object gradients, py::object norms, std::string kind) {
  Arguments a(self);
  const Update args = update_of(self, a, nullptr, gradients, {}, norms, kind, py::none());
  self.program.record(kernels().clip, args, {a.extents()});
}

void sgd(PyProgram& self, py::object values, py::object gradients, py::object momenta,
         py::object norms, std::string clip, double momentum, bool nesterov, py::object decays) {
  Arguments a(self);
  Update args = update_of(self, a, &values, gradients, {momenta}, norms, clip, decays);
  args.a = momentum;
  args.variant = nesterov;
  self.program.record(kernels().sgd, args, {a.extents()});
}

void adam(PyProgram& self, py::object values, py::object gradients, std::vector<py::object> slots,
          py::object norms, std::string clip, double beta_1, double beta_2, double epsilon,
          bool amsgrad, py::object decays) {
  check_slots(slots, amsgrad ? 3 : 2);
  Arguments a(self);
  Update args = update_of(self, a, &values, gradients, slots, norms, clip, decays);
  args.a = beta_1;
  args.b = beta_2;
  args.epsilon = epsilon;
  args.variant = amsgrad;
  self.program.record(kernels().adam, args, {a.extents()});
}

void rmsprop(PyProgram& self, py::object values, py::object gradients, py::object velocities,
             py::object momenta, py::object means, py::object norms, std::string clip, double rho,
             double momentum, double epsilon, py::object decays) {
  if (velocities.is_none()) refuse("velocities", "expected a list of arrays", velocities);
  Arguments a(self);
  Update args =
      update_of(self, a, &values, gradients, {velocities, momenta, means}, norms, clip, decays);
  args.a = rho;
  args.b = momentum;
  args.epsilon = epsilon;
  self.program.record(kernels().rmsprop, args, {a.extents()});
}

}  // namespace

void bind_updates(py::class_<PyProgram>& program) {
  const Parameter decays{"decays", py::none()};
  define(program, "gradient_norms", gradient_norms,
         {{"gradients"}, {"norms"}, {"clip", py::str("none")}, {"health", py::none()}});
  define(program, "clip", clip, {{"gradients"}, {"norms"}, {"kind"}});
  define(program, "sgd", sgd,
         {{"values"},
          {"gradients"},
          {"momenta"},
          {"norms"},
          {"clip"},
          {"momentum"},
          {"nesterov"},
          decays});
  define(program, "adam", adam,
         {{"values"},
          {"gradients"},
          {"slots"},
          {"norms"},
          {"clip"},
          {"beta_1"},
          {"beta_2"},
          {"epsilon"},
          {"amsgrad"},
          decays});
  define(program, "rmsprop", rmsprop,
         {{"values"},
          {"gradients"},
          {"velocities"},
          {"momenta"},
          {"means"},
          {"norms"},
          {"clip"},
          {"rho"},
          {"momentum"},
          {"epsilon"},
          decays});
}

}  // namespace evengrad::bindings
