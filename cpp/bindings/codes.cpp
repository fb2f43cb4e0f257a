// Codes: unwrap, call, wrap.
#include "../trees/binning.h"
#include "arrays.h"

namespace py = pybind11;
using namespace rlshare;

namespace {

Codes py_bin(const FloatArray& X, const std::vector<std::uint8_t>& categorical, bool quantile,
             int n_bins, std::size_t n_threads) {
  check_rows(X, categorical.size());
  require(n_bins >= 1 && n_bins <= kMaxBins, "n_bins must be in [1, 255]");
  const float* data = X.data();
  const std::size_t n = static_cast<std::size_t>(X.shape(0));
  py::gil_scoped_release release;
  return bin(data, n, categorical, quantile ? Candidates::quantile : Candidates::uniform, n_bins,
             threads(n_threads));
}

Codes py_take(const Codes& codes, const Array<std::int64_t>& rows) {
  const std::int64_t* data = rows.data();
  const std::size_t n = static_cast<std::size_t>(rows.size());
  for (std::size_t i = 0; i < n; ++i)
    require(data[i] >= 0 && static_cast<std::size_t>(data[i]) < codes.n_rows,
            "rows must be in [0, n_rows)");
  py::gil_scoped_release release;
  return codes.take(data, n);
}

}  // namespace

void register_codes(py::module_& m) {
  py::class_<Codes>(m, "Codes")
      .def("__len__", [](const Codes& c) { return c.n_rows; })
      .def("candidates", [](const Codes& c, std::size_t f) { return c.features.at(f).candidates; })
      .def("take", &py_take);
  m.def("bin", &py_bin, py::arg("X"), py::arg("categorical"), py::arg("quantile"),
        py::arg("n_bins"), py::arg("n_threads"));
}
