// Losses with their gradient, and metrics.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "../../csrc/parallel.h"
#include "harness.h"

namespace evengrad::bench {

namespace {

const Shape kShapes[] = {{32, 10}, {1024, 10}, {1024, 1000}};

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
  Loss kind;
  bool labels;      // the target is one of the columns
  bool overwrites;  // x becomes probabilities
  double (*value)(const Row& x, const Row& t);
  Row (*gradient)(const Row& x, const Row& t);
};

double exponential(double x, double) { return std::exp(x); }
double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double product(double x, double t) { return x * t; }

const RowLoss kLosses[] = {
    {"softmax_cross_entropy", Loss::kSoftmaxCrossEntropy, true, true,
     [](const Row& x, const Row& t) {
       return std::log(sum(each(x, t, exponential))) - sum(each(x, t, product));
     },
     [](const Row& x, const Row& t) {
       const double total = sum(each(x, t, exponential));
       return each(x, t, [=](double a, double b) { return std::exp(a) / total - b; });
     }},
    {"sigmoid_cross_entropy", Loss::kSigmoidCrossEntropy, false, true,
     [](const Row& x, const Row& t) {
       return mean(each(x, t, [](double a, double b) {
         return -b * std::log(sigmoid(a)) - (1.0 - b) * std::log(sigmoid(-a));
       }));
     },
     [](const Row& x, const Row& t) {
       const double n = static_cast<double>(x.size());
       return each(x, t, [=](double a, double b) { return (sigmoid(a) - b) / n; });
     }},
    {"categorical_cross_entropy", Loss::kCategoricalCrossEntropy, false, false,
     [](const Row& x, const Row& t) {
       const double total = sum(x);
       return sum(each(x, t, [=](double a, double b) { return -b * std::log(a / total); }));
     },
     [](const Row& x, const Row& t) {
       const double share = sum(t) / sum(x);
       return each(x, t, [=](double a, double b) { return share - b / a; });
     }},
    {"binary_cross_entropy", Loss::kBinaryCrossEntropy, false, false,
     [](const Row& x, const Row& t) {
       return mean(each(x, t, [](double a, double b) {
         return -b * std::log(a) - (1.0 - b) * std::log(1.0 - a);
       }));
     },
     [](const Row& x, const Row& t) {
       const double n = static_cast<double>(x.size());
       return each(x, t, [=](double a, double b) { return (a - b) / (a * (1.0 - a)) / n; });
     }},
    {"mean_squared_error", Loss::kMeanSquaredError, false, false,
     [](const Row& x, const Row& t) {
       return mean(each(x, t, [](double a, double b) { return (a - b) * (a - b); }));
     },
     [](const Row& x, const Row& t) {
       const double n = static_cast<double>(x.size());
       return each(x, t, [=](double a, double b) { return 2.0 * (a - b) / n; });
     }},
};

// The value of a metric of one row.
struct RowMetric {
  const char* name;
  Metric kind;
  bool labels;
  double (*value)(const Row& x, const Row& t);
};

std::ptrdiff_t largest(const Row& x) { return std::max_element(x.begin(), x.end()) - x.begin(); }
double same_largest(const Row& x, const Row& t) { return largest(x) == largest(t) ? 1.0 : 0.0; }

const RowMetric kMetrics[] = {
    {"sparse_accuracy", Metric::kSparseAccuracy, true, same_largest},
    {"categorical_accuracy", Metric::kCategoricalAccuracy, false, same_largest},
    {"binary_accuracy", Metric::kBinaryAccuracy, false,
     [](const Row& x, const Row& t) {
       return mean(
           each(x, t, [](double a, double b) { return (a > 0.5) == (b == 1.0) ? 1.0 : 0.0; }));
     }},
    {"squared_error", Metric::kSquaredError, false,
     [](const Row& x, const Row& t) {
       return mean(each(x, t, [](double a, double b) { return (a - b) * (a - b); }));
     }},
    {"absolute_error", Metric::kAbsoluteError, false,
     [](const Row& x, const Row& t) {
       return mean(each(x, t, [](double a, double b) { return std::fabs(a - b); }));
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
        result(arrays.of<double>(1)) {
    for (int64_t r = 0; r < shape.rows; ++r) {
      const int64_t predicted = largest(x_row(r)), first = r % 2 ? 0 : predicted;
      if (labels) labels[r] = static_cast<int32_t>((predicted + r % 2) % shape.columns);
      for (int64_t c = 0; c < shape.columns; ++c) {
        target.at(r, c) = c < first ? 0.0f : std::round(target.at(r, c));
      }
      target.at(r, first) = 1.0f;
    }
  }
  Tensor target_tensor() const { return labels ? Tensor{} : target.tensor(); }
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

Work loss(const RowLoss& f, Shape shape, const Kernels& k, Arrays& arrays) {
  const Batch b(shape, f.labels, arrays);
  const Array dx = arrays.zeros(shape);
  const LossArgs args{f.kind,  b.x.tensor(), b.labels,  b.target_tensor(),
                      nullptr, dx.tensor(),  b.partial, b.result};
  Work work(k.loss, args, shape.rows);
  work.traffic({b.x}, {dx});
  if (!f.labels) work.traffic({b.target}, {});
  if (f.overwrites) work.bytes += b.x.bytes();
  work.wrong = [=] {
    const std::string wrong = b.wrong_sum(f.value);
    if (!wrong.empty()) return wrong;
    int64_t row = -1;
    Row gradient;
    const Formula wanted = [&](int64_t r, int64_t c) {
      if (r != row) gradient = f.gradient(b.x_row(r), b.target_row(r)), row = r;
      return gradient[static_cast<std::size_t>(c)];
    };
    const double n = static_cast<double>(shape.rows);  // the kernel's is of the mean over rows
    return compare("dx", shape, [&](int64_t r, int64_t c) { return n * dx.at(r, c); }, wanted);
  };
  return work;
}

Work metric(const RowMetric& f, Shape shape, const Kernels& k, Arrays& arrays) {
  const Batch b(shape, f.labels, arrays);
  const MetricArgs args{f.kind, b.x.tensor(), b.labels, b.target_tensor(), b.partial, b.result};
  Work work(k.metric, args, shape.rows);
  work.traffic({b.x}, {});
  if (!f.labels) work.traffic({b.target}, {});
  work.wrong = [=] { return b.wrong_sum(f.value); };
  return work;
}

}  // namespace

void add_losses() {
  for (const Shape shape : kShapes) {
    for (const RowLoss& f : kLosses) {
      add(std::string("loss_") + f.name, shape.name(),
          [=](const Kernels& k, Arrays& arrays) { return loss(f, shape, k, arrays); });
    }
    for (const RowMetric& f : kMetrics) {
      add(std::string("metric_") + f.name, shape.name(),
          [=](const Kernels& k, Arrays& arrays) { return metric(f, shape, k, arrays); });
    }
  }
}

}  // namespace evengrad::bench
