#include "layer.h"

#include <cmath>

namespace rlshare {
namespace {

template <typename T>
std::vector<T*> rows_of(T* data, std::size_t width, std::size_t n) {
  std::vector<T*> rows(n);
  for (std::size_t i = 0; i < n; ++i) rows[i] = data + i * width;
  return rows;
}

std::vector<float> logits_of(const Router& router, std::size_t n_experts, std::size_t n) {
  std::vector<float> logits(n * n_experts), panel(panel_size(router.width));
  const auto from = rows_of(router.input, router.width, n);
  const auto to = rows_of(logits.data(), n_experts, n);
  products().times_transpose(from.data(), n, router.width, {router.weight, router.width},
                             {0, n_experts}, {to.data()}, panel.data());
  return logits;
}

void record(const LayerShape& shape, const Routes& routes, const Statistics& statistics) {
  const std::size_t n_experts = shape.rules.n_experts, k = shape.rules.top_k;
  double* counts = statistics.sums + 3;
  double* gates = counts + n_experts;
  double* probabilities = gates + n_experts;
  statistics.sums[0] += static_cast<double>(routes.n);
  statistics.sums[2] += static_cast<double>(routes.n) * routes.loss;
  for (std::size_t i = 0; i < routes.n; ++i) {
    const float* p = routes.probabilities.get() + i * n_experts;
    double sum = 0;
    for (std::size_t e = 0; e < n_experts; ++e) sum += p[e];
    for (std::size_t e = 0; e < n_experts; ++e) {
      const float q = static_cast<float>(p[e] / sum);
      probabilities[e] += q;
      if (q > 0) statistics.sums[1] -= q * std::log(q);
    }
    for (std::size_t j = 0; j < k; ++j) {
      const std::int32_t e = routes.experts[i * k + j];
      counts[e] += 1;
      gates[e] += routes.gates[i * k + j];
    }
  }
}

}  // namespace

void layer_forward(const LayerShape& shape, const Experts& experts, const Router& router,
                   const float* x, std::size_t n, float* y, bool learning, Tape& tape,
                   const Statistics* statistics, std::size_t n_threads) {
  const RoutingRules& rules = shape.rules;
  std::vector<float> logits;
  if (router.weight) logits = logits_of(router, rules.n_experts, n);
  tape.routes = route(rules, router.weight ? logits.data() : router.input, n, router.bias,
                      router.given, learning);
  plan(rules, tape.routes, tape.plan);
  tape.hidden = acquire_block(n * rules.top_k * shape.hidden);
  experts_forward(experts, tape.plan, tape.routes.gates.get(), x, n, tape.hidden.get(), y,
                  statistics ? statistics->magnitudes : nullptr, n_threads);
  if (statistics) record(shape, tape.routes, *statistics);
}

void layer_backward(const LayerShape& shape, const Experts& experts, const Router& router,
                    const float* x, const Tape& tape, const float* d_y, const LayerGradients& out,
                    std::size_t n_threads) {
  const std::size_t n = tape.routes.n, n_experts = shape.rules.n_experts;
  std::vector<float> d_gates(n * shape.rules.top_k);
  experts_backward(experts, tape.plan, tape.routes.gates.get(), x, n, tape.hidden.get(), d_y,
                   d_gates.data(), out.experts, n_threads);
  if (!router.weight) {
    if (out.router_input)
      route_backward(shape.rules, tape.routes, d_gates.data(), out.router_input);
    return;
  }
  std::vector<float> d_logits(n * n_experts);
  route_backward(shape.rules, tape.routes, d_gates.data(), d_logits.data());
  const auto from = rows_of(static_cast<const float*>(d_logits.data()), n_experts, n);
  const auto input = rows_of(router.input, router.width, n);
  products().transpose_times(from.data(), input.data(), n, n_experts, {0, router.width},
                             out.router_weight, router.width);
  if (!out.router_input) return;
  const auto to = rows_of(out.router_input, router.width, n);
  std::vector<float> panel(panel_size(n_experts));
  Output output = {to.data()};
  output.add = out.router_input == out.experts.x;
  products().times(from.data(), n, n_experts, {router.weight, router.width}, {0, router.width},
                   output, panel.data());
}

}  // namespace rlshare
