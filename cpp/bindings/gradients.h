// Gradients of a batch as the core reads them.
#pragma once

#include <optional>

#include "../trees/channels.h"
#include "arrays.h"

namespace rlshare {

inline Gradients gradients_of(const FloatArray& grads, const std::optional<FloatArray>& weights,
                              std::size_t n_rows, std::size_t n_outputs) {
  require(grads.ndim() == 2 && static_cast<std::size_t>(grads.shape(0)) == n_rows &&
              static_cast<std::size_t>(grads.shape(1)) == n_outputs,
          "grads must have shape [n_rows, n_outputs]");
  Gradients g = {grads.data(), n_rows, n_outputs, nullptr, WeightKind::none};
  if (!weights) return g;
  const bool per_row = weights->ndim() == 1;
  require(static_cast<std::size_t>(weights->size()) == n_rows * (per_row ? 1 : n_outputs),
          "weights must have shape [n_rows] or [n_rows, n_outputs]");
  g.weights = weights->data();
  g.weight_kind = per_row ? WeightKind::per_row : WeightKind::per_output;
  return g;
}

}  // namespace rlshare
