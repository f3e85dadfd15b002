// Losses with their gradient, and metrics.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "../../csrc/parallel.h"
#include "harness.h"

namespace evengrad::bench {

namespace {

const Shape kShapes[] = {{32, 10}, {1024, 2}, {1024, 10}, {1024, 1000}};

using Row = std::vector<double>;
double sum(const Row& x) {
  double total = 0.0;
  for (const double value : x) total += value;
  return total;
}
double mean(const Row& x) { return sum(x) / static_cast<double>(x.size()); }
template <class F>
Row each(const Row& x, const Row& t, F f) {
  Row result(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) result[i] = f(x[i], t[i]);
  return result;
}

// The formula of a loss of one row: its value, and its gradient in x.
struct RowLoss {
  const char* name;
  bool labels;      // the target is one of the columns
  bool overwrites;  // x becomes probabilities
  double (*value)(const Row& x, const Row& t);
  Row (*gradient)(const Row& x, const Row& t);
};

double exponential(double x, double) { return std::exp(x); }
double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double product(double x, double t) { return x * t; }

const RowLoss kLosses[] = {
    {"softmax_cross_entropy", true, true,
     [](const Row& x, const Row& t) {
       return std::log(sum(each(x, t, exponential))) - sum(each(x, t, product));
     },
     [](const Row& x, const Row& t) {
       const double total = sum(each(x, t, exponential));
       return each(x, t, [=](double a, double b) { return std::exp(a) / total - b; });
     }},
    {"sigmoid_cross_entropy", false, true,
     [](const Row& x, const Row& t) {
       return mean(each(x, t, [](double a, double b) {
         return -b * std::log(sigmoid(a)) - (1.0 - b) * std::log(sigmoid(-a));
       }));
     },
     [](const Row& x, const Row& t) {
       const double n = static_cast<double>(x.size());
       return each(x, t, [=](double a, double b) { return (sigmoid(a) - b) / n; });
     }},
    {"categorical_cross_entropy", false, false,
     [](const Row& x, const Row& t) {
       const double total = sum(x);
       return sum(each(x, t, [=](double a, double b) { return -b * std::log(a / total); }));
     },
     [](const Row& x, const Row& t) {
       const double share = sum(t) / sum(x);
       return each(x, t, [=](double a, double b) { return share - b / a; });
     }},
    {"binary_cross_entropy", false, false,
     [](const Row& x, const Row& t) {
       return mean(each(x, t, [](double a, double b) {
         return -b * std::log(a) - (1.0 - b) * std::log(1.0 - a);
       }));
     },
     [](const Row& x, const Row& t) {
       const double n = static_cast<double>(x.size());
       return each(x, t, [=](double a, double b) { return (a - b) / (a * (1.0 - a)) / n; });
     }},
    {"mean_squared_error", false, false,
     [](const Row& x, const Row& t) {
       return mean(each(x, t, [](double a, double b) { return (a - b) * (a - b); }));
     },
     [](const Row& x, const Row& t) {
       const double n = static_cast<double>(x.size());
       return each(x, t, [=](double a, double b) { return 2.0 * (a - b) / n; });
     }},
    {"mean_absolute_error", false, false,
     [](const Row& x, const Row& t) {
       return mean(each(x, t, [](double a, double b) { return std::fabs(a - b); }));
     },
     [](const Row& x, const Row& t) {
       const double n = static_cast<double>(x.size());
       return each(x, t, [=](double a, double b) { return (a > b ? 1.0 : -1.0) / n; });
     }},
    {"log_cosh", false, false,
     [](const Row& x, const Row& t) {
       return mean(each(x, t, [](double a, double b) { return std::log(std::cosh(a - b)); }));
     },
     [](const Row& x, const Row& t) {
       const double n = static_cast<double>(x.size());
       return each(x, t, [=](double a, double b) { return std::tanh(a - b) / n; });
     }},
    {"cosine_similarity", false, false,
     [](const Row& x, const Row& t) {
       return -sum(each(x, t, product)) / std::sqrt(sum(each(x, x, product))) /
              std::sqrt(sum(each(t, t, product)));
     },
     [](const Row& x, const Row& t) {
       const double squares = sum(each(x, x, product)), dot = sum(each(x, t, product));
       const double norms = std::sqrt(squares * sum(each(t, t, product)));
       return each(x, t, [=](double a, double b) { return (dot / squares * a - b) / norms; });
     }},
};

// The value of a metric of one row.
struct RowMetric {
  const char* name;
  bool labels;
  double (*value)(const Row& x, const Row& t);
};

std::ptrdiff_t largest(const Row& x) { return std::max_element(x.begin(), x.end()) - x.begin(); }
double same_largest(const Row& x, const Row& t) { return largest(x) == largest(t) ? 1.0 : 0.0; }

const RowMetric kMetrics[] = {
    {"categorical_accuracy", true, same_largest},
    {"categorical_accuracy", false, same_largest},
    {"top_k_accuracy", true,
     [](const Row& x, const Row& t) {
       const double at = x[static_cast<std::size_t>(largest(t))];
       return std::count_if(x.begin(), x.end(), [=](double a) { return a > at; }) < 5 ? 1.0 : 0.0;
     }},
    {"binary_accuracy", false,
     [](const Row& x, const Row& t) {
       return mean(
           each(x, t, [](double a, double b) { return (a > 0.5) == (b == 1.0) ? 1.0 : 0.0; }));
     }},
};

// Predictions as probabilities and what they should be: labels, or rows of zeros and ones. Every
// second prediction is right.
struct Batch {
  Batch(Shape shape, bool by_labels, Arrays& arrays)
      : x(arrays.random(shape, 0.05f, 0.95f)),
        target(arrays.random(shape, 0.0f, 1.0f)),
        labels(by_labels ? arrays.of<int32_t>(shape.rows) : nullptr),
        partial(arrays.of<double>(chunks_of(shape.rows).count)),
        result(arrays.of<double>(2)) {
    for (int64_t r = 0; r < shape.rows; ++r) {
      const int64_t predicted = largest(x_row(r)), first = r % 2 ? 0 : predicted;
      if (labels) labels[r] = static_cast<int32_t>((predicted + r % 2) % shape.columns);
      for (int64_t c = 0; c < shape.columns; ++c) {
        target.at(r, c) = c < first ? 0.0f : std::round(target.at(r, c));
      }
      target.at(r, first) = 1.0f;
    }
  }
  Compared compared() const {
    return {x.tensor(), labels, labels ? Tensor{} : target.tensor(), nullptr};
  }
  Row x_row(int64_t r) const {
    Row row;
    for (int64_t c = 0; c < x.columns; ++c) row.push_back(x.before(r, c));
    return row;
  }
  Row target_row(int64_t r) const {
    Row row;
    for (int64_t c = 0; c < x.columns; ++c) {
      row.push_back(labels ? (labels[r] == c ? 1.0 : 0.0) : double{target.at(r, c)});
    }
    return row;
  }
  // Whether the kernel's sum over all rows is right.
  std::string wrong_sum(double (*value)(const Row& x, const Row& t)) const {
    double total = 0.0;
    for (int64_t r = 0; r < x.rows; ++r) total += value(x_row(r), target_row(r));
    return compare(
        "sum", {1, 1}, [this](int64_t, int64_t) { return *result; },
        [=](int64_t, int64_t) { return total; });
  }

  Array x, target;
  int32_t* labels;
  double *partial, *result;
};

const RowFunction& named(const RowFunction* table, int count, const std::string& name) {
  return *std::find_if(table, table + count, [&](const RowFunction& f) { return name == f.name; });
}

Work loss(const RowLoss& formula, Shape shape, const Kernels& k, Arrays& arrays) {
  const Batch b(shape, formula.labels, arrays);
  const Array dx = arrays.zeros(shape);
  const RowFunction& f = named(k.losses, k.loss_count, formula.name);
  LossArgs args{b.compared(), {}, Reduction::kMean, dx.tensor(), nullptr, b.partial, b.result};
  std::copy(f.parameter_default, f.parameter_default + 2, args.parameter);
  Work work(f.run, args, shape.rows);
  work.traffic({b.x}, {dx});
  if (!formula.labels) work.traffic({b.target}, {});
  if (formula.overwrites) work.bytes += b.x.bytes();
  work.wrong = [=] {
    const std::string wrong = b.wrong_sum(formula.value);
    if (!wrong.empty()) return wrong;
    int64_t row = -1;
    Row gradient;
    const Formula wanted = [&](int64_t r, int64_t c) {
      if (r != row) gradient = formula.gradient(b.x_row(r), b.target_row(r)), row = r;
      return gradient[static_cast<std::size_t>(c)];
    };
    const double n = static_cast<double>(shape.rows);  // the kernel's is of the mean over rows
    return compare("dx", shape, [&](int64_t r, int64_t c) { return n * dx.at(r, c); }, wanted);
  };
  return work;
}

Work metric(const RowMetric& formula, Shape shape, const Kernels& k, Arrays& arrays) {
  const Batch b(shape, formula.labels, arrays);
  const RowFunction& f = named(k.metrics, k.metric_count, formula.name);
  LossArgs args{b.compared(), {}, Reduction::kNone, {}, nullptr, b.partial, b.result};
  std::copy(f.parameter_default, f.parameter_default + 2, args.parameter);
  Work work(f.run, args, shape.rows);
  work.traffic({b.x}, {});
  if (!formula.labels) work.traffic({b.target}, {});
  work.wrong = [=] { return b.wrong_sum(formula.value); };
  return work;
}

// What metrics are made of: the weight of all, however it is spread, must be there.
Work counts(Shape shape, std::size_t thresholds, const Kernels& k, Arrays& arrays) {
  const Batch b(shape, false, arrays);
  auto* limits = arrays.of<float>(static_cast<int64_t>(thresholds));
  for (std::size_t i = 0; i < thresholds; ++i) {
    limits[i] = static_cast<float>(i) / static_cast<float>(thresholds - 1);
  }
  const auto size = static_cast<int64_t>(2 * (thresholds + 1));
  auto* partial = arrays.of<double>(kMostParts * size);
  auto* result = arrays.of<double>(size);
  const ConfusionArgs args{
      b.compared(), limits, static_cast<int64_t>(thresholds), 0, -1, thresholds > 2, false,
      partial,      result};
  Work work(k.confusion, args, shape.rows);
  work.traffic({b.x, b.target}, {});
  work.wrong = [=] {
    return compare(
        "sum", {1, 1},
        [=](int64_t, int64_t) { return std::accumulate(result, result + size, 0.0); },
        [=](int64_t, int64_t) { return static_cast<double>(shape.rows * shape.columns); });
  };
  return work;
}

Work column_sums(KernelOf<ColumnSumsArgs> kernel, Shape shape, Arrays& arrays) {
  const Batch b(shape, false, arrays);
  const int64_t size = 3 * shape.columns + 2;
  auto* partial = arrays.of<double>(kMostParts * size);
  auto* result = arrays.of<double>(size);
  Work work(kernel, ColumnSumsArgs{b.compared(), 0.5f, partial, result}, shape.rows);
  work.traffic({b.x, b.target}, {});
  work.wrong = [=] {
    return compare(
        "sum", {1, 2}, [=](int64_t, int64_t c) { return result[size - 2 + c]; },
        [=](int64_t, int64_t) { return static_cast<double>(shape.rows); });
  };
  return work;
}

}  // namespace

void add_losses() {
  for (const Shape shape : kShapes) {
    const std::string name = shape.name();
    for (const RowLoss& f : kLosses) {
      add(std::string("loss_") + f.name, name,
          [=](const Kernels& k, Arrays& arrays) { return loss(f, shape, k, arrays); });
    }
    for (const RowMetric& f : kMetrics) {
      add(std::string("metric_") + f.name + (f.labels ? "_of_labels" : ""), name,
          [=](const Kernels& k, Arrays& arrays) { return metric(f, shape, k, arrays); });
    }
    for (const std::size_t thresholds : {std::size_t{2}, std::size_t{200}}) {
      add("metric_confusion_" + std::to_string(thresholds), name,
          [=](const Kernels& k, Arrays& arrays) { return counts(shape, thresholds, k, arrays); });
    }
    add("metric_f_score_sums", name, [=](const Kernels& k, Arrays& arrays) {
      return column_sums(k.f_score_sums, shape, arrays);
    });
    add("metric_r2_sums", name,
        [=](const Kernels& k, Arrays& arrays) { return column_sums(k.r2_sums, shape, arrays); });
  }
}

}  // namespace evengrad::bench
