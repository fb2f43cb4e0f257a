// Unwrap, call, wrap. Shapes are checked by rlshare.trees; here only what would be unsafe.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <optional>

#include "../common/thread_pool.h"
#include "../trees/compaction.h"
#include "../trees/grower.h"
#include "../trees/serialize.h"

namespace py = pybind11;
using namespace rlshare;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;
using FloatArray = Array<float>;

constexpr std::size_t kSmallPrediction = 10000;  // (row, tree) pairs

std::size_t threads(std::size_t requested) { return requested ? requested : available_threads(); }

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

void check_rows(const FloatArray& X, std::size_t n_features) {
  require(X.ndim() == 2 && static_cast<std::size_t>(X.shape(1)) == n_features,
          "X must have shape [n, n_features]");
}

bool all_finite(const float* values, std::size_t n) {
  constexpr std::uint32_t kExponent = 0x7f800000u;  // all ones in Inf and NaN only
  bool finite = true;
  for (std::size_t i = 0; i < n; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, values + i, sizeof bits);
    finite &= (bits & kExponent) != kExponent;
  }
  return finite;
}

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

void py_grow(Forest& forest, const Codes& codes, const FloatArray& grads,
             const std::optional<FloatArray>& weights, const GrowParams& params) {
  require(grads.ndim() == 2 && static_cast<std::size_t>(grads.shape(0)) == codes.n_rows &&
              static_cast<std::size_t>(grads.shape(1)) == forest.n_outputs(),
          "grads must have shape [n_rows, n_outputs]");
  require(codes.categorical == forest.categorical(),
          "codes were made by a model of other features");
  require(params.feature_weights.size() == forest.n_features() &&
              params.rates.size() == forest.n_outputs() && params.growth == forest.growth() &&
              params.max_depth >= 0 && params.max_depth <= kMaxDepth,
          "parameters do not fit the forest");
  Gradients g = {grads.data(), codes.n_rows, forest.n_outputs(), nullptr, WeightKind::none};
  if (weights) {
    const bool per_row = weights->ndim() == 1;
    require(static_cast<std::size_t>(weights->size()) ==
                codes.n_rows * (per_row ? 1 : forest.n_outputs()),
            "weights must have shape [n_rows] or [n_rows, n_outputs]");
    g.weights = weights->data();
    g.weight_kind = per_row ? WeightKind::per_row : WeightKind::per_output;
  }
  for (const Monotonic& m : params.monotonic)
    require(m.feature < forest.n_features() && !forest.categorical()[m.feature] &&
                m.output < forest.n_outputs(),
            "monotonic constraints do not fit the forest");
  const Tree* tree;
  {
    py::gil_scoped_release release;
    tree = &grow(codes, g, params);
  }
  // Under the interpreter's lock, like every reader of the forest but a prediction.
  forest.append(*tree);
}

void py_add_trees(const Forest& forest, const FloatArray& X, std::size_t begin, std::size_t end,
                  FloatArray& out, bool with_bias, std::size_t n_threads,
                  const std::optional<FloatArray>& weights) {
  check_rows(X, forest.n_features());
  require(out.ndim() == 2 && out.shape(0) == X.shape(0) &&
              static_cast<std::size_t>(out.shape(1)) == forest.n_outputs(),
          "out must have shape [n, n_outputs]");
  require(begin <= end && end <= forest.n_trees(), "the range of trees is out of bounds");
  require(!weights || static_cast<std::size_t>(weights->size()) >= end,
          "weights must have shape [n_trees]");
  const float* w = weights ? weights->data() : nullptr;
  const float* data = X.data();
  float* to = out.mutable_data();
  const std::size_t n = static_cast<std::size_t>(X.shape(0));
  std::optional<py::gil_scoped_release> release;  // costs as much as a small prediction
  if (n * (end - begin) > kSmallPrediction) release.emplace();
  if (with_bias) forest.fill_bias(to, n);
  forest.add_trees(data, n, begin, end, w, threads(n_threads), to);
}

Forest py_compacted(const Forest& forest, const FloatArray& X, std::size_t n_oldest,
                    std::size_t n_kept) {
  check_rows(X, forest.n_features());
  require(X.shape(0) > 0, "X must have at least one row");
  require(1 <= n_kept && n_kept <= n_oldest && n_oldest <= forest.n_trees(),
          "1 <= n_kept <= n_oldest <= n_trees must hold");
  const float* data = X.data();
  const std::size_t n = static_cast<std::size_t>(X.shape(0));
  py::gil_scoped_release release;
  return compacted(forest, data, n, n_oldest, n_kept);
}

FloatArray table(const std::vector<float>& values, std::size_t n_columns) {
  FloatArray out({values.size() / n_columns, n_columns});
  std::copy(values.begin(), values.end(), out.mutable_data());
  return out;
}

py::dict py_tree(const Forest& forest, std::size_t t) {
  require(t < forest.n_trees(), "the tree is out of bounds");
  const Tree tree = forest.tree(t);
  py::dict d;
  d["depth"] = static_cast<int>(tree.depth);
  d["leaves"] = table(tree.leaves, forest.n_outputs());
  d["rates"] = py::array_t<float>(static_cast<py::ssize_t>(tree.rates.size()), tree.rates.data());
  std::vector<std::int32_t> features, left, leaf;
  std::vector<float> thresholds;
  for (const Test& test : tree.tests) {
    features.push_back(test.feature);
    thresholds.push_back(test.threshold);
  }
  for (const Node& node : tree.nodes) {
    features.push_back(node.feature);
    thresholds.push_back(node.threshold);
    left.push_back(node.left);
    leaf.push_back(node.leaf);
  }
  d["features"] = features;
  d["thresholds"] = thresholds;
  if (forest.growth() == Growth::greedy) {
    d["left"] = left;
    d["leaf"] = leaf;
  }
  return d;
}

}  // namespace

void register_trees(py::module_& m) {
  m.def("checksum", [](const py::bytes& b) {
    const std::string_view view = b;
    return checksum(view.data(), view.size());
  });
  m.def("all_finite", [](const FloatArray& a) {
    return all_finite(a.data(), static_cast<std::size_t>(a.size()));
  });

  py::class_<Codes>(m, "Codes")
      .def("__len__", [](const Codes& c) { return c.n_rows; })
      .def("candidates", [](const Codes& c, std::size_t f) { return c.features.at(f).candidates; })
      .def("take", &py_take);
  m.def("bin", &py_bin, py::arg("X"), py::arg("categorical"), py::arg("quantile"),
        py::arg("n_bins"), py::arg("n_threads"));

  py::class_<GrowParams>(m, "GrowParams")
      .def(py::init([](bool greedy, bool cosine, int max_depth, int min_samples_leaf, float l2,
                       std::vector<float> feature_weights, std::vector<float> rates,
                       const std::vector<std::tuple<std::size_t, std::size_t, int>>& monotonic,
                       std::size_t n_threads) {
             std::vector<Monotonic> constraints;
             for (const auto& [feature, output, sign] : monotonic)
               constraints.push_back({feature, output, sign});
             return GrowParams{greedy ? Growth::greedy : Growth::oblivious,
                               cosine ? Score::cosine : Score::l2,
                               max_depth,
                               min_samples_leaf,
                               l2,
                               std::move(feature_weights),
                               std::move(rates),
                               std::move(constraints),
                               threads(n_threads)};
           }),
           py::kw_only(), py::arg("greedy"), py::arg("cosine"), py::arg("max_depth"),
           py::arg("min_samples_leaf"), py::arg("l2"), py::arg("feature_weights"), py::arg("rates"),
           py::arg("monotonic"), py::arg("n_threads"));

  py::class_<Forest>(m, "Forest")
      .def(py::init([](bool greedy, std::size_t n_features, std::vector<float> bias,
                       std::vector<std::uint8_t> categorical) {
             return Forest(greedy ? Growth::greedy : Growth::oblivious, n_features, std::move(bias),
                           std::move(categorical));
           }),
           py::kw_only(), py::arg("greedy"), py::arg("n_features"), py::arg("bias"),
           py::arg("categorical"))
      .def(py::init<const Forest&>())
      .def_property_readonly("n_trees", &Forest::n_trees)
      .def_property_readonly("n_bytes", &Forest::n_bytes)
      .def_property_readonly("n_features", &Forest::n_features)
      .def_property_readonly("greedy", [](const Forest& f) { return f.growth() == Growth::greedy; })
      .def_property_readonly("bias", &Forest::bias)
      .def_property_readonly("categorical",
                             [](const Forest& f) {
                               return std::vector<int>(f.categorical().begin(),
                                                       f.categorical().end());
                             })
      .def("categories_fit",
           [](const Forest& f, const std::vector<std::size_t>& n_categories) {
             require(n_categories.size() == f.n_features(), "one number a feature");
             return f.categories_fit(n_categories);
           })
      .def_property("importances", &Forest::importances,
                    [](Forest& f, std::vector<double> importances) {
                      require(importances.size() == 3 * f.n_features(),
                              "importances must have shape [3 * n_features]");
                      f.set_importances(std::move(importances));
                    })
      .def("truncate", &Forest::truncate)
      .def("grow", &py_grow)
      .def("add_trees", &py_add_trees, py::arg("X"), py::arg("begin"), py::arg("end"),
           py::arg("out").noconvert(), py::arg("with_bias"), py::arg("n_threads"),
           py::arg("weights") = py::none())
      .def("compacted", &py_compacted, py::arg("X"), py::arg("n_oldest"), py::arg("n_kept"))
      .def("tree", &py_tree)
      .def("to_bytes", [](const Forest& f,
                          const std::string& metadata) { return py::bytes(to_bytes(f, metadata)); })
      .def_static("from_bytes", [](const std::string& bytes) {
        std::string metadata;
        Forest forest = from_bytes(bytes, metadata);
        return py::make_tuple(std::move(forest), py::bytes(metadata));
      });
}
