// Growing a tree: unwrap, call, wrap.
#include <cstring>
#include <optional>
#include <tuple>

#include "../trees/grower/grower.h"
#include "gradients.h"

namespace py = pybind11;
using namespace rlshare;

namespace {

// The largest |value|; where not all are finite, Inf or NaN. As bits, magnitudes are in order.
float largest_magnitude(const FloatArray& values) {
  const float* data = values.data();
  const std::size_t n = static_cast<std::size_t>(values.size());
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, data + i, sizeof bits);
    bits &= 0x7fffffffu;
    largest = bits > largest ? bits : largest;
  }
  float magnitude;
  std::memcpy(&magnitude, &largest, sizeof magnitude);
  return magnitude;
}

void py_grow(Forest& forest, const Codes& codes, const FloatArray& grads,
             const std::optional<FloatArray>& weights, const GrowParams& params,
             const FloatArray& feature_weights, const FloatArray& rates, std::size_t n_threads) {
  const Gradients g = gradients_of(grads, weights, codes.n_rows, forest.n_outputs());
  require(codes.categorical == forest.categorical(),
          "codes were made by a model of other features");
  require(params.growth == forest.growth() && params.max_depth >= 0 &&
              params.max_depth <= kMaxDepth &&
              static_cast<std::size_t>(feature_weights.size()) == forest.n_features() &&
              static_cast<std::size_t>(rates.size()) == forest.n_outputs(),
          "parameters do not fit the forest");
  for (const Monotonic& m : params.monotonic)
    require(m.feature < forest.n_features() && !forest.categorical()[m.feature] &&
                m.output < forest.n_outputs(),
            "monotonic constraints do not fit the forest");
  const TreeDraw draw = {feature_weights.data(), rates.data(), threads(n_threads)};
  const Tree* tree;
  {
    py::gil_scoped_release release;
    tree = &grow(codes, g, params, draw);
  }
  // Under the interpreter's lock, like every reader of the forest but a prediction.
  forest.append(*tree);
}

}  // namespace

void register_growing(py::module_& m) {
  m.def("largest_magnitude", &largest_magnitude);
  py::class_<GrowParams>(m, "GrowParams")
      .def(py::init([](bool greedy, bool cosine, int max_depth, int min_samples_leaf, float l2,
                       const std::vector<std::tuple<std::size_t, std::size_t, int>>& monotonic) {
             std::vector<Monotonic> constraints;
             for (const auto& [feature, output, sign] : monotonic)
               constraints.push_back({feature, output, sign});
             return GrowParams{greedy ? Growth::greedy : Growth::oblivious,
                               cosine ? Score::cosine : Score::l2,
                               max_depth,
                               min_samples_leaf,
                               l2,
                               std::move(constraints)};
           }),
           py::kw_only(), py::arg("greedy"), py::arg("cosine"), py::arg("max_depth"),
           py::arg("min_samples_leaf"), py::arg("l2"), py::arg("monotonic"));
  m.def("grow", &py_grow, py::arg("forest"), py::arg("codes"), py::arg("grads"), py::arg("weights"),
        py::arg("params"), py::arg("feature_weights"), py::arg("rates"), py::arg("n_threads"));
}
