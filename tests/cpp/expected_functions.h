// What the activations are, in double, and how far the kernels may be from it: test_functions.cpp.
#pragma once
#include <cmath>

namespace expected {

// Formulas, naive but for cancellation and overflow.

constexpr double kScale = 1.0507009873554804934, kAlpha = 1.6732632423543772848;  // SELU's
constexpr double kBelow = double{0.2f};                                           // leaky ReLU's

inline double one(double) { return 1.0; }
inline double identity(double x) { return x; }
inline double relu(double x) { return x < 0.0 ? 0.0 : x; }
inline double relu_slope(double x) { return x > 0.0 ? 1.0 : 0.0; }
inline double relu6(double x) { return std::fmin(relu(x), 6.0); }
inline double relu6_slope(double x) { return x > 0.0 && x < 6.0 ? 1.0 : 0.0; }
inline double general(double x) { return x < 0.0 ? 0.0 : x; }
inline double general_slope(double x) { return x > 0.0 && x < INFINITY ? 1.0 : 0.0; }
inline double leaky(double x) { return x < 0.0 ? kBelow * x : x; }
inline double leaky_slope(double x) { return x > 0.0 ? 1.0 : kBelow; }
inline double exponential(double x) { return std::exp(x); }
inline double elu(double x) { return x > 0.0 ? x : std::expm1(x); }
inline double elu_slope(double x) { return x > 0.0 ? 1.0 : std::exp(x); }
inline double selu(double x) { return kScale * (x > 0.0 ? x : kAlpha * std::expm1(x)); }
inline double selu_slope(double x) { return kScale * (x > 0.0 ? 1.0 : kAlpha * std::exp(x)); }
inline double softplus(double x) { return std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }
inline double tangent(double x) { return std::tanh(x); }
inline double tanh_slope(double x) { return 1.0 / (std::cosh(x) * std::cosh(x)); }
inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
inline double sigmoid_slope(double x) { return sigmoid(x) * sigmoid(-x); }
inline double hard_sigmoid(double x) { return std::fmin(std::fmax(x + 3.0, 0.0), 6.0) / 6.0; }
inline double hard_sigmoid_slope(double x) { return std::fabs(x) < 3.0 ? 1.0 / 6.0 : 0.0; }
inline double hard_silu(double x) { return x <= -3.0 ? -0.0 : x * hard_sigmoid(x); }
inline double hard_silu_slope(double x) {
  return std::fabs(x) < 3.0 ? (2.0 * x + 3.0) / 6.0 : relu_slope(x);
}
inline double hard_tanh(double x) { return std::fmax(std::fmin(x, 1.0), -1.0); }
inline double hard_tanh_slope(double x) { return std::fabs(x) < 1.0 ? 1.0 : 0.0; }
inline double hard_shrink(double x) { return std::fabs(x) > 0.5 ? x : 0.0; }
inline double soft_shrink(double x) { return x > 0.5 ? x - 0.5 : x < -0.5 ? x + 0.5 : 0.0; }
inline double shrink_slope(double x) { return std::fabs(x) > 0.5 ? 1.0 : 0.0; }
inline double threshold(double x) { return x > 0.0 ? x : 0.0; }
inline double sparse_plus(double x) {
  return std::fabs(x) < 1.0 ? (x + 1.0) * (x + 1.0) / 4.0 : x < 0.0 ? 0.0 : x;
}
inline double sparse_sigmoid(double x) { return std::fmin(std::fmax(x + 1.0, 0.0), 2.0) / 2.0; }
inline double sparse_sigmoid_slope(double x) { return std::fabs(x) < 1.0 ? 0.5 : 0.0; }
inline double log_sigmoid(double x) { return -softplus(-x); }
inline double log_sigmoid_slope(double x) { return sigmoid(-x); }
inline double squareplus(double x) {
  return std::fmax(x, 0.0) + 2.0 / (std::hypot(x, 2.0) + std::fabs(x));
}
inline double squareplus_slope(double x) {
  const double s = std::hypot(x, 2.0), small = 2.0 / (s * (s + std::fabs(x)));
  return x < 0.0 ? small : 1.0 - small;
}
// Where the difference would cancel, its series.
inline double tanh_shrink(double x) {
  const double z = x * x;
  if (z > 0.002) return x - std::tanh(x);
  return x * z * (1.0 / 3 - z * (2.0 / 15 - z * (17.0 / 315 - z * (62.0 / 2835))));
}
inline double tanh_shrink_slope(double x) { return std::tanh(x) * std::tanh(x); }
inline double softsign(double x) {
  return std::isinf(x) ? std::copysign(1.0, x) : x / (1.0 + std::fabs(x));
}
inline double softsign_slope(double x) { return std::pow(1.0 + std::fabs(x), -2); }

// These are 0 at -inf, where the formula has infinity times 0.
inline double silu(double x) { return x < -1e4 ? -0.0 : x * sigmoid(x); }
inline double silu_slope(double x) {
  return std::fabs(x) > 1e4 ? relu_slope(x) : sigmoid(x) * (1.0 + x * sigmoid(-x));
}
inline double normal(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }
inline double gelu(double x) { return x < -1e4 ? -0.0 : x * normal(x); }
inline double gelu_slope(double x) {
  if (std::fabs(x) > 1e4) return relu_slope(x);
  return normal(x) + x * std::exp(-0.5 * x * x) * 0.39894228040143267794;
}
// x (1 + tanh(v / 2)) / 2 = x / (1 + e^-v)
inline double gelu_tanh(double x) {
  if (x < -1e4) return -0.0;
  return x > 1e4 ? x : x * sigmoid(1.5957691216057307 * (x + 0.044715 * x * x * x));
}
inline double gelu_tanh_slope(double x) {
  if (std::fabs(x) > 1e2) return relu_slope(x);
  const double v = 1.5957691216057307 * (x + 0.044715 * x * x * x);
  return sigmoid(v) * (1.0 + sigmoid(-v) * 1.5957691216057307 * (x + 0.134145 * x * x * x));
}
// tanh(ln(1 + e^x)) = n / (n + 2), n = e^x (e^x + 2)
inline double mish(double x) {
  if (x > 50.0 || x < -1e4) return x > 0.0 ? x : -0.0;
  const double e = std::exp(x), n = e * (e + 2.0);
  return x * (n / (n + 2.0));
}
inline double mish_slope(double x) {
  if (x > 50.0 || x < -1e4) return relu_slope(x);
  const double e = std::exp(x), d = e * (e + 2.0) + 2.0;
  return (e * (e + 2.0) + 4.0 * x * e * (1.0 + e) / d) / d;
}

// How far the kernels may be: what was measured (fastmath.h) and a little more, since compilers
// differ in which sums they fuse. Errors are in ULP of the exact result, 2^-149 for denormals. A
// slope made from y, such as y + 1 or y (1 - y), or one that crosses 0, has the absolute error of
// its terms: where it is smaller than `least`, its error is in ULP at `least`.
struct Expected {
  const char* name;
  double (*value)(double);
  double value_ulps;
  double (*slope)(double);
  double slope_ulps, least;
  double kinks[2] = {INFINITY, INFINITY};  // either side's slope will do within 1e-6
};

inline const Expected kExpected[] = {
    {"linear", identity, 0.0, one, 0.0, 0.0},
    {"relu", relu, 0.0, relu_slope, 0.0, 0.0},
    {"relu6", relu6, 0.0, relu6_slope, 0.0, 0.0},
    {"relu_general", general, 0.0, general_slope, 0.0, 0.0},
    {"leaky_relu", leaky, 0.5, leaky_slope, 0.0, 0.0},
    {"elu", elu, 0.9, elu_slope, 1.0, 0.5},
    {"celu", elu, 0.9, elu_slope, 1.0, 0.5},
    {"selu", selu, 2.0, selu_slope, 2.0, 1.0, {0.0}},
    {"softplus", softplus, 1.7, sigmoid, 2.5, 0.0},
    {"squareplus", squareplus, 2.9, squareplus_slope, 7.0, 0.0},
    {"softsign", softsign, 1.5, softsign_slope, 3.5, 0.0},
    {"silu", silu, 3.3, silu_slope, 4.0, 0.125},
    {"mish", mish, 3.7, mish_slope, 3.0, 0.5},
    {"gelu", gelu, 3.6, gelu_slope, 4.0, 0.25},
    {"gelu_tanh", gelu_tanh, 3.8, gelu_tanh_slope, 4.0, 0.25},
    {"tanh", tangent, 0.9, tanh_slope, 2.0, 0.5},
    {"tanh_shrink", tanh_shrink, 3.5, tanh_shrink_slope, 3.1, 0.0},
    {"sigmoid", sigmoid, 2.0, sigmoid_slope, 1.1, 0.5},
    {"log_sigmoid", log_sigmoid, 1.7, log_sigmoid_slope, 2.5, 0.0},
    {"hard_sigmoid", hard_sigmoid, 1.34, hard_sigmoid_slope, 1.1, 0.0, {-3.0, 3.0}},
    {"hard_silu", hard_silu, 2.6, hard_silu_slope, 1.4, 0.0, {-3.0, 3.0}},
    {"hard_tanh", hard_tanh, 0.0, hard_tanh_slope, 0.0, 0.0},
    {"hard_shrink", hard_shrink, 0.0, shrink_slope, 0.0, 0.0},
    {"soft_shrink", soft_shrink, 0.5, shrink_slope, 0.0, 0.0},
    {"threshold", threshold, 0.0, relu_slope, 0.0, 0.0},
    {"sparse_plus", sparse_plus, 2.0, sparse_sigmoid, 0.5, 0.0},
    {"sparse_sigmoid", sparse_sigmoid, 0.5, sparse_sigmoid_slope, 0.0, 0.0, {-1.0, 1.0}},
    {"exponential", exponential, 0.95, exponential, 0.95, 0.0},
};

}  // namespace expected
