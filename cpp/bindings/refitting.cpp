// Trees that are drawn and whose leaves move: unwrap, call, wrap.
#include <algorithm>
#include <cmath>
#include <optional>

#include "../trees/draw.h"
#include "../trees/refit.h"
#include "gradients.h"

namespace py = pybind11;
using namespace rlshare;

namespace {

using Rows = std::optional<Array<std::int64_t>>;

RowIndex index_of(const LeafIds& ids, const Rows& rows) {
  if (!rows) return {nullptr, ids.n_rows};
  const RowIndex index = {rows->data(), static_cast<std::size_t>(rows->size())};
  for (std::size_t i = 0; i < index.n; ++i)
    require(index.rows[i] >= 0 && static_cast<std::size_t>(index.rows[i]) < ids.n_rows,
            "rows must be in [0, n_rows)");
  return index;
}

void check_ids(const Forest& forest, const LeafIds& ids) {
  require(ids.n_trees == forest.n_trees(), "the leaves are those of other trees");
}

LeafIds py_leaf_ids(const Forest& forest, const FloatArray& X, std::size_t n_threads) {
  check_rows(X, forest.n_features());
  const float* data = X.data();
  const std::size_t n = static_cast<std::size_t>(X.shape(0));
  py::gil_scoped_release release;
  return leaf_ids(forest.view(), data, n, threads(n_threads));
}

void py_refit(Forest& forest, const LeafIds& ids, const Rows& rows, const FloatArray& grads,
              const std::optional<FloatArray>& weights, const FloatArray& rates, float l2,
              std::size_t n_threads) {
  check_ids(forest, ids);
  const RowIndex index = index_of(ids, rows);
  const Gradients g = gradients_of(grads, weights, index.n, forest.n_outputs());
  require(static_cast<std::size_t>(rates.size()) == forest.n_outputs(),
          "rates must have shape [n_outputs]");
  std::vector<float> leaves;
  {
    py::gil_scoped_release release;
    leaves = refitted(forest.view(), ids, index, g, rates.data(), l2, threads(n_threads));
  }
  require(std::all_of(leaves.begin(), leaves.end(), [](float leaf) { return std::isfinite(leaf); }),
          "leaves must stay finite in float32: gradients, weights or rates are too large");
  forest.replace_leaves(leaves);
}

void py_draw_trees(Forest& forest, const FloatArray& X, std::size_t n_trees, int depth,
                   std::vector<double> shares, std::uint64_t seed) {
  check_rows(X, forest.n_features());
  require(X.shape(0) > 0 && forest.growth() == Growth::oblivious && 0 <= depth &&
              depth <= kMaxDepth && shares.size() == forest.n_features(),
          "trees are drawn from rows, for oblivious growth, with a share for each feature");
  draw_trees(forest, X.data(), static_cast<std::size_t>(X.shape(0)),
             {n_trees, depth, std::move(shares), seed});
}

FloatArray py_sum_leaves(const Forest& forest, const LeafIds& ids, const Rows& rows,
                         std::size_t n_threads) {
  check_ids(forest, ids);
  const RowIndex index = index_of(ids, rows);
  FloatArray out({index.n, forest.n_outputs()});
  float* to = out.mutable_data();
  py::gil_scoped_release release;
  sum_leaves(forest.view(), ids, index, threads(n_threads), to);
  return out;
}

}  // namespace

void register_refitting(py::module_& m) {
  py::class_<LeafIds>(m, "LeafIds")
      .def("__len__", [](const LeafIds& ids) { return ids.n_rows; })
      .def_readonly("n_trees", &LeafIds::n_trees);
  m.def("leaf_ids", &py_leaf_ids, py::arg("forest"), py::arg("X"), py::arg("n_threads"));
  m.def("refit", &py_refit, py::arg("forest"), py::arg("ids"), py::arg("rows"), py::arg("grads"),
        py::arg("weights"), py::arg("rates"), py::arg("l2"), py::arg("n_threads"));
  m.def("draw_trees", &py_draw_trees, py::arg("forest"), py::arg("X"), py::arg("n_trees"),
        py::arg("depth"), py::arg("shares"), py::arg("seed"));
  m.def("sum_leaves", &py_sum_leaves, py::arg("forest"), py::arg("ids"), py::arg("rows"),
        py::arg("n_threads"));
}
