// What all benchmarks have in common: work is checked against formulas in double, then timed on
// each instruction set and number of threads, then held against a roof.
#pragma once
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>

#include "../../csrc/kernels.h"
#include "arrays.h"

namespace evengrad::bench {

// A kernel with all that it is given. After one call `wrong` says what is wrong, or nothing.
struct Work {
  template <class Args>
  Work(KernelOf<Args> called, const Args& given, int64_t rows)
      : kernel(called.call), args(std::make_shared<Args>(given)) {
    step.rows = rows;
    step.iteration = 10;
    step.learning_rate = 0.01;
    step.control = control.get();
  }
  // Each array counts once each time it is named, however often a kernel goes over it.
  void traffic(std::initializer_list<Array> read, std::initializer_list<Array> written);

  Kernel kernel;
  std::shared_ptr<const void> args;
  std::shared_ptr<Control> control = std::make_shared<Control>();
  Step step{};
  std::function<std::string()> wrong;
  double operations = 0.0;              // of products, or
  double bytes = 0.0, footprint = 0.0;  // moved, and of memory that they are in
};

using Formula = std::function<double(int64_t r, int64_t c)>;

// What differs by more than tolerance (1 + |wanted|), in some thousand places of the shape, the
// first and the last among them.
std::string compare(const char* what, Shape shape, const Formula& got, const Formula& wanted,
                    double tolerance = 1e-5);
std::string compare(const char* what, const Array& got, const Formula& wanted,
                    double tolerance = 1e-5);

enum class Threads { kOneAndAll, kOne };
using Make = std::function<Work(const Kernels& k, Arrays& arrays)>;

// Registers name/ISA/shape/threads:N for each ISA and number of threads.
void add(const std::string& name, const std::string& shape, const Make& make,
         Threads threads = Threads::kOneAndAll);

bool all_right();  // no benchmark so far found a wrong result

// One that stays in L2 with all its arrays, one far beyond most machines' L3.
const Shape kElementwise[] = {{128, 256}, {65536, 256}};

// One a file.
void add_activations();
void add_batch_norm();
void add_elementwise();
void add_layer_norm();
void add_losses();
void add_optimizers();
void add_products();
void add_shaping();
void add_updates();

}  // namespace evengrad::bench
