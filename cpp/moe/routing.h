// Which experts a row is sent to, with which gates, and how the router learns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace rlshare {

// softmax: gates are the softmax over the selected logits; with one expert selected, its softmax
// over all, or the router would get no gradient. sigmoid: sigmoids, divided by the sum of those
// selected (of one selected: not divided), and selected by sigmoid + bias.
enum class Gate : std::uint8_t { softmax, sigmoid };

// entropy: sum_e m_e log m_e of the mean m of the probabilities. switch_transformer: E sum_e F_e
// m_e with the share F of the selections. importance: squared coefficient of variation of the
// experts' summed gates.
enum class Balance : std::uint8_t { none, entropy, switch_transformer, importance };

struct RoutingRules {
  std::size_t n_experts, top_k;
  Gate gate;
  Balance balance;
  float balance_coef;
  float z_coef;  // of the mean of squared log-sum-exps of the logits
};

// Memory that is not initialised.
template <typename T>
std::unique_ptr<T[]> uninitialised(std::size_t n) {
  return std::unique_ptr<T[]>(new T[n]);
}

struct Routes {
  std::size_t n = 0;
  std::unique_ptr<float[]> probabilities;   // [n, n_experts]: softmax or sigmoids of the logits
  std::unique_ptr<std::int32_t[]> experts;  // [n, top_k], best first
  std::unique_ptr<float[]> gates;           // [n, top_k]
  std::unique_ptr<float[]> log_sums;        // [n]: log-sum-exp of the logits, with z_coef
  std::unique_ptr<float[]> entropies;       // [n]: of the normalised probabilities, where learning
  float loss = 0;                           // the balance and z losses, with their coefficients
  std::vector<float> d_mean;                // [n_experts]: d loss / d probability of every row
  std::vector<float> d_gate;                // [n_experts]: d loss / d gate of every row
};

// Room for the routes of n rows; those that learn are fit for add_losses and route_backward.
Routes make_routes(const RoutingRules& rules, std::size_t n, bool learning);

// Fills rows [begin, end) from logits [n, n_experts]. bias [n_experts] is added to sigmoids for the
// selection, or null. given [n, top_k] are experts selected before, or null.
// Throws std::invalid_argument for a given expert out of range or given twice for one row.
void route(const RoutingRules& rules, const float* logits, std::size_t begin, std::size_t end,
           const float* bias, const std::int32_t* given, Routes& routes);

// The losses of all rows, and their gradients.
void add_losses(const RoutingRules& rules, Routes& routes);

// Rows [begin, end) of d_logits [n, n_experts], of the losses and of d_gates [n, top_k].
void route_backward(const RoutingRules& rules, const Routes& routes, const float* d_gates,
                    std::size_t begin, std::size_t end, float* d_logits);

// Rows sorted by expert, in their order within each: a counting sort of the selections.
struct Plan {
  std::vector<std::size_t> offsets;  // [n_experts + 1], into those below
  std::vector<std::int32_t> rows;    // [n * top_k]
  std::vector<std::int32_t> places;  // [n * top_k], into [n, top_k]
};

void plan(const RoutingRules& rules, const Routes& routes, Plan& out);

}  // namespace rlshare
