// The experts: e maps x to W2[e]^T f(W1[e]^T x + b1[e]) + b2[e], evaluated on the rows sent to it.
#pragma once

#include "products.h"
#include "routing.h"

namespace rlshare {

struct Experts {
  std::size_t n_experts, width, hidden;  // of the layer, its input and output, and between
  Activation activation;
  const float* w1;  // [n_experts, width, hidden]
  const float* b1;  // [n_experts, hidden]
  const float* w2;  // [n_experts, hidden, width]
  const float* b2;  // [n_experts, width]
};

// Where gradients are written; those of experts without rows are 0.
struct ExpertGradients {
  float* x;  // [n, width], or null
  float *w1, *b1, *w2, *b2;
};

// y [n, width] = sum over a row's experts of gate * expert(x), in the order of the experts.
// hidden [n * top_k, hidden], by place in the plan, is overwritten with f. magnitudes
// [n_experts, hidden] += |input of f|, or null.
void experts_forward(const Experts& experts, const Plan& plan, const float* gates, const float* x,
                     std::size_t n, float* hidden, float* y, float* magnitudes,
                     std::size_t n_threads);

// From d_y [n, width] and what the forward pass left in hidden; d_gates is [n, top_k].
void experts_backward(const Experts& experts, const Plan& plan, const float* gates, const float* x,
                      std::size_t n, const float* hidden, const float* d_y, float* d_gates,
                      const ExpertGradients& out, std::size_t n_threads);

}  // namespace rlshare
