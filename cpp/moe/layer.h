// A mixture-of-experts layer: router, experts, and the gradient of both with the balance loss.
#pragma once

#include "../common/blocks.h"
#include "experts.h"

namespace rlshare {

struct LayerShape {
  std::size_t width, hidden;
  Activation activation;
  RoutingRules rules;
};

// Logits are input W^T of n rows, or given where weight is null.
struct Router {
  const float* input;   // [n, width]; or the logits [n, n_experts]
  const float* weight;  // [n_experts, width], or null
  std::size_t width;
  const float* bias;          // [n_experts], of the selection by sigmoids, or null
  const std::int32_t* given;  // [n, top_k], or null
};

// Sums over the rows seen since they were cleared.
struct Statistics {
  // [3 + 3 * n_experts]: rows, sum of the rows' entropies, sum of rows * loss; then by expert
  // rows, gates, probabilities (normalised).
  double* sums;
  double* magnitudes;  // [n_experts, hidden]: of the inputs of the activation
};

// What a forward pass leaves for its backward pass.
struct Tape {
  Routes routes;
  Plan plan;
  Block hidden;
};

struct LayerGradients {
  ExpertGradients experts;
  float* router_input;   // like Router::input, or null; may be experts.x, which is then added to
  float* router_weight;  // null where logits were given
};

// y is [n, width]. A tape that learns computes the balance loss; one that does not may be reused.
void layer_forward(const LayerShape& shape, const Experts& experts, const Router& router,
                   const float* x, std::size_t n, float* y, bool learning, Tape& tape,
                   const Statistics* statistics, std::size_t n_threads);

// d_y [n, width]. The gradient is that of the caller's loss plus the balance loss.
void layer_backward(const LayerShape& shape, const Experts& experts, const Router& router,
                    const float* x, const Tape& tape, const float* d_y, const LayerGradients& out,
                    std::size_t n_threads);

}  // namespace rlshare
