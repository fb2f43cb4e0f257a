// Boosting with a forest whose tests stay: a step moves all leaves of all trees at once, each
// against the mean gradient of its rows. It is gradient boosting whose weak learner is the whole
// forest, and since its structure is the same in every step, the sum of the steps is one forest.
#pragma once

#include <cstdint>
#include <vector>

#include "channels.h"
#include "leaf_ids.h"

namespace rlshare {

// The rows of a batch: a selection of those whose leaves are known, in their order.
struct RowIndex {
  const std::int64_t* rows;  // [n], or null for all
  std::size_t n;

  std::size_t operator[](std::size_t i) const {
    return rows ? static_cast<std::size_t>(rows[i]) : i;
  }
};

// Returns the leaf tables of all trees, as after
//   v_t[leaf, c] -= rates[c] / n_trees * sum of w_i g_ic over the leaf / (sum of w_i + l2).
// A leaf without rows, or of weight 0, stays. Sums are float32 in the order of the rows; trees are
// moved in parallel, and so the number of threads never changes a bit.
std::vector<float> refitted(const ForestView& view, const LeafIds& ids, const RowIndex& index,
                            const Gradients& gradients, const float* rates, float l2,
                            std::size_t n_threads);

// out [n, n_outputs] = the bias and then the trees in ascending order: the bits of a prediction.
void sum_leaves(const ForestView& view, const LeafIds& ids, const RowIndex& index,
                std::size_t n_threads, float* out);

}  // namespace rlshare
