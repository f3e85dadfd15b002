// The dense layer. GFLOP/s count the products alone: 2 operations for each input, output and row.
#include "harness.h"

namespace evengrad::bench {

namespace {

struct Dense {
  int64_t rows, in, out;
  std::string name() const { return std::to_string(rows) + "x" + Shape{in, out}.name(); }
  double operations() const { return 2.0 * static_cast<double>(rows * in * out); }
  double tolerance(int64_t depth) const { return 1e-5 + 1e-6 * static_cast<double>(depth); }
};
const Dense kShapes[] = {{1, 784, 300}, {32, 784, 300},  {32, 300, 100},
                         {32, 100, 10}, {128, 784, 300}, {1024, 1024, 1024}};

// Entry (i, j) of a product: the sum over p < depth of a(i, p) b(p, j).
double dot(int64_t depth, const std::function<double(int64_t p)>& term) {
  double sum = 0.0;
  for (int64_t p = 0; p < depth; ++p) sum += term(p);
  return sum;
}

Formula column_sums(const Array& a) {
  return [a](int64_t, int64_t c) { return dot(a.rows, [&](int64_t r) { return a.at(r, c); }); };
}
// a' b
Formula columns_by_columns(const Array& a, const Array& b) {
  return [a, b](int64_t i, int64_t j) {
    return dot(a.rows, [&](int64_t r) { return double{a.at(r, i)} * b.at(r, j); });
  };
}
// a b'
Formula rows_by_rows(const Array& a, const Array& b) {
  return [a, b](int64_t i, int64_t j) {
    return dot(a.columns, [&](int64_t c) { return double{a.at(i, c)} * b.at(j, c); });
  };
}

Work forward(const Dense& d, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random({d.rows, d.in}), w = arrays.random({d.in, d.out});
  const Array bias = arrays.random({1, d.out}), y = arrays.zeros({d.rows, d.out});
  Work work(k.dense_forward, DenseForward{x.tensor(), w.matrix(), bias.data, y.tensor()}, d.rows);
  work.operations = d.operations();
  work.wrong = [=] {
    const Formula wanted = [=](int64_t r, int64_t c) {
      return bias.at(0, c) + dot(d.in, [&](int64_t p) { return double{x.at(r, p)} * w.at(p, c); });
    };
    return compare("y", y, wanted, d.tolerance(d.in));
  };
  return work;
}

Work backward(const Dense& d, const Kernels& k, Arrays& arrays) {
  const Array x = arrays.random({d.rows, d.in}), w = arrays.random({d.in, d.out});
  const Array dy = arrays.random({d.rows, d.out}), dw = arrays.zeros({d.in, d.out});
  const Array db = arrays.zeros({1, d.out}), dx = arrays.zeros({d.rows, d.in});
  auto* dyt = arrays.of<float>(padded(d.out) * spread(d.rows));
  const DenseBackward args{x.tensor(), w.matrix(),  dy.tensor(), dw.matrix(),
                           db.data,    dx.tensor(), dyt,         {}};
  Work work(k.dense_backward, args, d.rows);
  work.operations = 2.0 * d.operations();
  work.wrong = [=] {
    std::string wrong = compare("dw", dw, columns_by_columns(x, dy), d.tolerance(d.rows));
    if (wrong.empty()) wrong = compare("dx", dx, rows_by_rows(dy, w), d.tolerance(d.out));
    return wrong.empty() ? compare("db", db, column_sums(dy), d.tolerance(d.rows)) : wrong;
  };
  return work;
}

// The first layer: no dx, and the gradients of a normalization before it.
Work folded(const Dense& d, const Kernels& k, Arrays& arrays) {
  const Array xhat = arrays.random({d.rows, d.in}), w = arrays.random({d.in, d.out});
  const Array dy = arrays.random({d.rows, d.out}), dw = arrays.zeros({d.in, d.out});
  const Array gamma = arrays.random({1, d.in}), beta = arrays.random({1, d.in});
  const Array dgamma = arrays.zeros({1, d.in}), dbeta = arrays.zeros({1, d.in});
  const Array sums = arrays.zeros({1, d.out});
  const FoldedNormalization fold{xhat.tensor(), gamma.data, beta.data,
                                 dgamma.data,   dbeta.data, sums.data};
  const DenseBackward args{{}, w.matrix(), dy.tensor(), dw.matrix(), nullptr, {}, nullptr, fold};
  Work work(k.dense_backward, args, d.rows);
  work.operations = d.operations();
  work.wrong = [=] {
    const Formula product = columns_by_columns(xhat, dy), sum = column_sums(dy);
    const Formula wanted_dw = [=](int64_t i, int64_t j) {
      return gamma.at(0, i) * product(i, j) + beta.at(0, i) * sum(0, j);
    };
    const Formula wanted_dgamma = [=](int64_t, int64_t i) {
      return dot(d.out, [&](int64_t j) { return w.at(i, j) * product(i, j); });
    };
    const Formula wanted_dbeta = [=](int64_t, int64_t i) {
      return dot(d.out, [&](int64_t j) { return w.at(i, j) * sum(0, j); });
    };
    std::string wrong = compare("dw", dw, wanted_dw, d.tolerance(d.rows));
    if (wrong.empty()) wrong = compare("dgamma", dgamma, wanted_dgamma, d.tolerance(d.out));
    return wrong.empty() ? compare("dbeta", dbeta, wanted_dbeta, d.tolerance(d.out)) : wrong;
  };
  return work;
}

}  // namespace

void add_products() {
  for (const Dense& d : kShapes) {
    add("dense_forward", d.name(),
        [=](const Kernels& k, Arrays& arrays) { return forward(d, k, arrays); });
    add("dense_backward", d.name(),
        [=](const Kernels& k, Arrays& arrays) { return backward(d, k, arrays); });
  }
  const Dense first{32, 784, 300};
  add("dense_backward_folded", first.name(),
      [=](const Kernels& k, Arrays& arrays) { return folded(first, k, arrays); });
}

}  // namespace evengrad::bench
