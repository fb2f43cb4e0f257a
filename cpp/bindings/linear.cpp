// The linear part: unwrap, call, wrap.
#include "../trees/linear.h"

#include <algorithm>
#include <optional>

#include "arrays.h"

namespace py = pybind11;
using namespace rlshare;

namespace {

using Doubles = Array<double>;

// Products that take no longer than to let go of the interpreter's lock.
constexpr std::size_t kSmall = 10000;

// Rows of n values each, filled up with zeros to a width.
std::vector<double> rows_of(const Doubles& values, std::size_t n_rows, std::size_t n,
                            std::size_t width) {
  require(static_cast<std::size_t>(values.size()) == n_rows * n,
          "the parts of a linear part do not fit");
  std::vector<double> out(n_rows * width);
  for (std::size_t i = 0; i < n_rows; ++i)
    std::copy_n(values.data() + i * n, n, out.data() + i * width);
  return out;
}

LinearPart make(std::size_t n_features, const Doubles& intercept,
                std::vector<std::int64_t> features, const Doubles& coefficients,
                const Doubles& offsets, const Doubles& low, const Doubles& high) {
  for (const std::int64_t f : features)
    require(f >= 0 && static_cast<std::size_t>(f) < n_features,
            "features must be in [0, n_features)");
  const std::size_t D = static_cast<std::size_t>(intercept.size()), k = features.size();
  LinearPart part = {n_features, D, {}, std::move(features), {}, {}, {}, {}};
  part.intercept = rows_of(intercept, 1, D, part.width());
  part.coefficients = rows_of(coefficients, k, D, part.width());
  part.offsets = rows_of(offsets, k, D, part.width());
  part.low = rows_of(low, k, 1, 1);
  part.high = rows_of(high, k, 1, 1);
  return part;
}

void py_add(const LinearPart& part, const FloatArray& X, FloatArray& out, std::size_t n_threads) {
  check_rows(X, part.n_features);
  require(out.ndim() == 2 && out.shape(0) == X.shape(0) &&
              static_cast<std::size_t>(out.shape(1)) == part.n_outputs,
          "out must have shape [n, n_outputs]");
  const float* data = X.data();
  float* to = out.mutable_data();
  const std::size_t n = static_cast<std::size_t>(X.shape(0));
  std::optional<py::gil_scoped_release> release;
  if (n * part.features.size() * part.n_outputs > kSmall) release.emplace();
  add_linear(part, data, n, threads(n_threads), to);
}

}  // namespace

void register_linear(py::module_& m) {
  py::class_<LinearPart>(m, "LinearPart")
      .def(py::init(&make), py::kw_only(), py::arg("n_features"), py::arg("intercept"),
           py::arg("features"), py::arg("coefficients"), py::arg("offsets"), py::arg("low"),
           py::arg("high"))
      .def("add", &py_add, py::arg("X"), py::arg("out").noconvert(), py::arg("n_threads"));
}
