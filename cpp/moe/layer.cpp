#include "layer.h"

#include <algorithm>

#include "rows.h"
#include "team.h"

namespace rlshare {
namespace {

// Rows per task of what is done row by row, and multiply-adds below which one thread does all.
constexpr std::size_t kRowsPerTask = 64, kThreadedWork = 1 << 18;

// rows(begin, end) for all n, on several threads if a row is `work` multiply-adds.
template <typename Rows>
void by_rows(std::size_t n, std::size_t work, std::size_t n_threads, Rows rows) {
  const std::size_t n_tasks = (n + kRowsPerTask - 1) / kRowsPerTask;
  team_for(n_tasks, n * work < kThreadedWork ? 1 : n_threads, [&](std::size_t task) {
    rows(task * kRowsPerTask, std::min(n, (task + 1) * kRowsPerTask));
  });
}

void record(const LayerShape& shape, const Routes& routes, const std::vector<float>& magnitudes,
            const Statistics& statistics) {
  const std::size_t n_experts = shape.rules.n_experts, k = shape.rules.top_k;
  double* counts = statistics.sums + 3;
  double* gates = counts + n_experts;
  double* probabilities = gates + n_experts;
  statistics.sums[0] += static_cast<double>(routes.n);
  statistics.sums[2] += static_cast<double>(routes.n) * routes.loss;
  for (std::size_t i = 0; i < magnitudes.size(); ++i) statistics.magnitudes[i] += magnitudes[i];
  for (std::size_t i = 0; i < routes.n; ++i) {
    const float* p = routes.probabilities.get() + i * n_experts;
    float sum = 0;
    for (std::size_t e = 0; e < n_experts; ++e) sum += p[e];
    const float scale = 1 / sum;
    for (std::size_t e = 0; e < n_experts; ++e) probabilities[e] += scale * p[e];
    statistics.sums[1] += routes.entropies[i];
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
  const std::size_t n_experts = rules.n_experts;
  std::vector<float> logits(router.weight ? n * n_experts : 0);
  std::vector<const float*> from;
  std::vector<float*> to;
  rows_of(router.input, router.width, n, from);
  rows_of(logits.data(), n_experts, router.weight ? n : 0, to);
  tape.routes = make_routes(rules, n, learning);
  by_rows(n, n_experts * router.width, n_threads, [&](std::size_t begin, std::size_t end) {
    if (router.weight) {
      products().times_transpose(from.data() + begin, end - begin, router.width,
                                 {router.weight, router.width}, {0, n_experts}, {to.data() + begin},
                                 scratch(panel_size(router.width)));
    }
    route(rules, router.weight ? logits.data() : router.input, begin, end, router.bias,
          router.given, tape.routes);
  });
  if (learning && n > 0) add_losses(rules, tape.routes);
  plan(rules, tape.routes, tape.plan);
  tape.hidden = acquire_block(n * rules.top_k * shape.hidden);
  std::vector<float> magnitudes(statistics ? n_experts * shape.hidden : 0);
  experts_forward(experts, tape.plan, tape.routes.gates.get(), x, n, tape.hidden.get(), y,
                  statistics ? magnitudes.data() : nullptr, n_threads);
  if (statistics && n > 0) record(shape, tape.routes, magnitudes, *statistics);
}

void layer_backward(const LayerShape& shape, const Experts& experts, const Router& router,
                    const float* x, const Tape& tape, const float* d_y, const LayerGradients& out,
                    std::size_t n_threads) {
  const std::size_t n = tape.routes.n, n_experts = shape.rules.n_experts;
  std::vector<float> d_gates(n * shape.rules.top_k);
  experts_backward(experts, tape.plan, tape.routes.gates.get(), x, n, tape.hidden.get(), d_y,
                   d_gates.data(), out.experts, n_threads);
  std::vector<float> own(router.weight ? n * n_experts : 0);
  float* d_logits = router.weight ? own.data() : out.router_input;
  if (!d_logits) return;
  std::vector<const float*> from, input;
  std::vector<float*> to;
  rows_of(static_cast<const float*>(d_logits), n_experts, n, from);
  rows_of(router.input, router.width, n, input);
  const bool to_input = router.weight && out.router_input;
  rows_of(out.router_input, router.width, to_input ? n : 0, to);
  Output output = {to.data()};
  output.add = out.router_input == out.experts.x;
  by_rows(n, n_experts * router.width, n_threads, [&](std::size_t begin, std::size_t end) {
    route_backward(shape.rules, tape.routes, d_gates.data(), begin, end, d_logits);
    if (!to_input) return;
    Output rows = output;
    rows.rows = to.data() + begin;
    products().times(from.data() + begin, end - begin, n_experts, {router.weight, router.width},
                     {0, router.width}, rows, scratch(panel_size(n_experts)));
  });
  if (router.weight)
    products().transpose_times(from.data(), input.data(), n, n_experts, {0, router.width},
                               out.router_weight, router.width);
}

}  // namespace rlshare
