// Unwrap, call, wrap. Arrays come as addresses: rlshare.moe has checked types, shapes and strides.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../moe/layer.h"

namespace py = pybind11;
using namespace rlshare;

namespace {

using Address = std::uintptr_t;  // 0 for none

template <typename T = float>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

// The names of an enum's values in Python.
template <typename T>
using Names = std::vector<std::pair<std::string, T>>;

const Names<Gate> kGates = {{"softmax", Gate::softmax}, {"sigmoid", Gate::sigmoid}};
const Names<Balance> kBalances = {{"none", Balance::none},
                                  {"entropy", Balance::entropy},
                                  {"switch", Balance::switch_transformer},
                                  {"importance", Balance::importance}};
const Names<Activation> kActivations = {{"relu", Activation::relu}, {"tanh", Activation::tanh}};

template <typename T>
T one_of(const std::string& name, const Names<T>& names) {
  for (const auto& [known, value] : names)
    if (known == name) return value;
  throw std::invalid_argument("unknown name " + name);
}

template <typename T>
std::string name_of(T wanted, const Names<T>& names) {
  for (const auto& [name, value] : names)
    if (value == wanted) return name;
  throw std::logic_error("a value without a name");
}

RoutingRules rules_of(std::size_t n_experts, std::size_t top_k, const std::string& gate,
                      const std::string& balance, float balance_coef, float z_coef) {
  if (top_k < 1 || top_k > n_experts)
    throw std::invalid_argument("rules need 1 <= top_k <= n_experts");
  return {n_experts, top_k, one_of(gate, kGates), one_of(balance, kBalances), balance_coef, z_coef};
}

LayerShape shape_of(std::size_t width, std::size_t hidden, const std::string& activation,
                    const RoutingRules& rules) {
  if (width < 1 || hidden < 1) throw std::invalid_argument("a layer needs width and hidden >= 1");
  return {width, hidden, one_of(activation, kActivations), rules};
}

// Addresses of the parameters: w1, b1, w2, b2 and the router's weight.
using Parameters = std::tuple<Address, Address, Address, Address, Address>;

Experts experts_of(const LayerShape& shape, const Parameters& p) {
  return {shape.rules.n_experts, shape.width,        shape.hidden,       shape.activation,
          at(std::get<0>(p)),    at(std::get<1>(p)), at(std::get<2>(p)), at(std::get<3>(p))};
}

std::unique_ptr<Tape> py_forward(const LayerShape& shape, const Parameters& parameters, Address x,
                                 std::size_t n, Address router_input, std::size_t router_width,
                                 Address bias, Address given, Address y, bool learning,
                                 Address sums, Address magnitudes, std::size_t n_threads) {
  auto tape = std::make_unique<Tape>();
  const Router router = {at(router_input), at(std::get<4>(parameters)), router_width, at(bias),
                         at<std::int32_t>(given)};
  const Statistics statistics = {at<double>(sums), at<double>(magnitudes)};
  py::gil_scoped_release release;
  layer_forward(shape, experts_of(shape, parameters), router, at(x), n, at(y), learning, *tape,
                sums ? &statistics : nullptr, n_threads);
  return tape;
}

void py_backward(const LayerShape& shape, const Tape& tape, const Parameters& parameters, Address x,
                 Address router_input, std::size_t router_width, Address d_y,
                 const Parameters& gradients, Address d_x, Address d_router_input,
                 std::size_t n_threads) {
  const Router router = {at(router_input), at(std::get<4>(parameters)), router_width, nullptr,
                         nullptr};
  const LayerGradients out = {{at(d_x), at(std::get<0>(gradients)), at(std::get<1>(gradients)),
                               at(std::get<2>(gradients)), at(std::get<3>(gradients))},
                              at(d_router_input),
                              at(std::get<4>(gradients))};
  py::gil_scoped_release release;
  layer_backward(shape, experts_of(shape, parameters), router, at(x), tape, at(d_y), out,
                 n_threads);
}

py::array_t<float> block(std::size_t n) {
  Block memory = acquire_block(n);
  const std::size_t size = memory.get_deleter().n;
  float* data = memory.get();
  auto* owner = new Block(std::move(memory));
  return py::array_t<float>(
      static_cast<py::ssize_t>(size), data,
      py::capsule(owner, [](void* p) noexcept { delete static_cast<Block*>(p); }));
}

template <typename T>
py::array_t<T> copied(const T* data, std::size_t rows, std::size_t columns) {
  py::array_t<T> array({rows, columns});
  std::copy_n(data, rows * columns, array.mutable_data());
  return array;
}

}  // namespace

void register_moe(py::module_& m) {
  m.def("block", &block);

  py::class_<Tape>(m, "ExpertTape")
      .def_property_readonly("loss", [](const Tape& t) { return t.routes.loss; })
      .def_property_readonly("experts",
                             [](const Tape& t) {
                               const std::size_t n = t.routes.n;
                               return copied(t.routes.experts.get(), n,
                                             n ? t.plan.rows.size() / n : 0);
                             })
      .def_property_readonly("gates", [](const Tape& t) {
        const std::size_t n = t.routes.n;
        return copied(t.routes.gates.get(), n, n ? t.plan.rows.size() / n : 0);
      });

  py::class_<RoutingRules>(m, "RoutingRules")
      .def(py::init(&rules_of), py::kw_only(), py::arg("n_experts"), py::arg("top_k"),
           py::arg("gate"), py::arg("balance"), py::arg("balance_coef"), py::arg("z_coef"))
      .def_readonly("n_experts", &RoutingRules::n_experts)
      .def_readonly("top_k", &RoutingRules::top_k)
      .def_property_readonly("gate", [](const RoutingRules& r) { return name_of(r.gate, kGates); })
      .def_property_readonly("balance",
                             [](const RoutingRules& r) { return name_of(r.balance, kBalances); })
      .def_readonly("balance_coef", &RoutingRules::balance_coef)
      .def_readonly("z_coef", &RoutingRules::z_coef)
      .def(py::pickle(
          [](const RoutingRules& r) {
            return py::make_tuple(r.n_experts, r.top_k, name_of(r.gate, kGates),
                                  name_of(r.balance, kBalances), r.balance_coef, r.z_coef);
          },
          [](const py::tuple& t) {
            return rules_of(t[0].cast<std::size_t>(), t[1].cast<std::size_t>(),
                            t[2].cast<std::string>(), t[3].cast<std::string>(), t[4].cast<float>(),
                            t[5].cast<float>());
          }));

  py::class_<LayerShape>(m, "ExpertLayer")
      .def(py::init(&shape_of), py::kw_only(), py::arg("width"), py::arg("hidden"),
           py::arg("activation"), py::arg("rules"))
      .def("forward", &py_forward)
      .def("backward", &py_backward)
      .def(py::pickle(
          [](const LayerShape& s) {
            return py::make_tuple(s.width, s.hidden, name_of(s.activation, kActivations), s.rules);
          },
          [](const py::tuple& t) {
            return shape_of(t[0].cast<std::size_t>(), t[1].cast<std::size_t>(),
                            t[2].cast<std::string>(), t[3].cast<RoutingRules>());
          }));
}
