// The forest: unwrap, call, wrap. Shapes are checked by rlshare.trees; here only what would be
// unsafe.
#include "../trees/forest.h"

#include <optional>

#include "../trees/compaction.h"
#include "../trees/sections.h"
#include "../trees/serialize.h"
#include "../trees/tree_arrays.h"
#include "arrays.h"

namespace py = pybind11;
using namespace rlshare;

namespace {

// (row, tree) pairs that take no longer than to let go of the interpreter's lock.
constexpr std::size_t kSmallPrediction = 10000;

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
  std::optional<py::gil_scoped_release> release;
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

py::dict py_arrays(const Forest& forest, std::size_t t) {
  require(t < forest.n_trees(), "the tree is out of bounds");
  const ForestView view = forest.view();
  const TreeArrays arrays = tree_arrays(view, t);
  const std::size_t D = view.n_outputs, begin = view.leaf_begin[t];
  return py::dict(
      py::arg("feature") = array(arrays.feature), py::arg("threshold") = array(arrays.threshold),
      py::arg("left") = array(arrays.left), py::arg("right") = array(arrays.right),
      py::arg("leaf_row") = array(arrays.leaf_row),
      py::arg("leaves") = table(view.leaves + begin, (view.leaf_begin[t + 1] - begin) / D, D),
      py::arg("rates") = array(view.rates + t * D, D),
      py::arg("depth") = static_cast<int>(view.depth[t]));
}

Array<double> py_importances(const Forest& forest) {
  return table(forest.importances().data(), 3, forest.n_features());
}

void set_importances(Forest& forest, const Array<double>& importances) {
  require(static_cast<std::size_t>(importances.size()) == 3 * forest.n_features(),
          "importances must have shape [3, n_features]");
  forest.set_importances({importances.data(), importances.data() + importances.size()});
}

FloatArray py_leaves(const Forest& forest) {
  const ForestView view = forest.view();
  return array(view.leaves, view.leaf_begin[view.n_trees]);
}

void set_leaves(Forest& forest, const FloatArray& leaves) {
  const ForestView view = forest.view();
  require(static_cast<std::size_t>(leaves.size()) == view.leaf_begin[view.n_trees],
          "leaves must hold one number for each there is");
  forest.replace_leaves({leaves.data(), leaves.data() + leaves.size()});
}

std::vector<int> py_categorical(const Forest& forest) {
  return {forest.categorical().begin(), forest.categorical().end()};
}

bool py_categories_fit(const Forest& forest, const std::vector<std::size_t>& n_categories) {
  require(n_categories.size() == forest.n_features(), "one number a feature");
  return forest.categories_fit(n_categories);
}

}  // namespace

void register_forest(py::module_& m) {
  m.def("checksum", [](const py::bytes& b) {
    const std::string_view view = b;
    return checksum(view.data(), view.size());
  });
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
      .def_property_readonly("n_outputs", &Forest::n_outputs)
      .def_property_readonly("greedy", [](const Forest& f) { return f.growth() == Growth::greedy; })
      .def_property_readonly("bias", [](const Forest& f) { return array(f.bias()); })
      .def_property_readonly("categorical", &py_categorical)
      .def_property("importances", &py_importances, &set_importances)
      .def("categories_fit", &py_categories_fit)
      .def("truncate", &Forest::truncate)
      .def_property("leaves", &py_leaves, &set_leaves)
      .def("add_trees", &py_add_trees, py::arg("X"), py::arg("begin"), py::arg("end"),
           py::arg("out").noconvert(), py::arg("with_bias"), py::arg("n_threads"),
           py::arg("weights") = py::none())
      .def("compacted", &py_compacted, py::arg("X"), py::arg("n_oldest"), py::arg("n_kept"))
      .def("arrays", &py_arrays)
      .def("to_bytes",
           [](const Forest& f, const OwnersSections& sections) {
             return py::bytes(to_bytes(f, sections));
           })
      .def_static("from_bytes", [](const std::string& bytes) {
        ModelFile file = from_bytes(bytes);
        py::dict sections;
        for (const auto& [name, text] : file.sections) sections[py::str(name)] = py::bytes(text);
        return py::make_tuple(std::move(file.forest), sections);
      });
}
