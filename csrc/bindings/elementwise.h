// Activations by name, as Python gives them.
#pragma once
#include <string>
#include <vector>

#include "array_view.h"

namespace evengrad::bindings {

const Activation& activation_named(const std::string& name);

// Those given, then the defaults; raises where one is below its least.
void fill_parameters(const Activation& f, const std::vector<float>& given, float* parameter);

}  // namespace evengrad::bindings
