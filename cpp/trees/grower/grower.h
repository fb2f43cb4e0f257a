// Grows one tree on the gradients of a batch, level by level.
#pragma once

#include <vector>

#include "../binning.h"
#include "../channels.h"
#include "../forest.h"
#include "monotonic.h"

namespace rlshare {

// What all trees of a model have in common.
struct GrowParams {
  Growth growth;
  Score score;
  int max_depth;
  int min_samples_leaf;
  float l2;
  std::vector<Monotonic> monotonic;  // at most one a feature and output
};

// What is the next tree's own.
struct TreeDraw {
  const float* feature_weights;  // [n_features]; 0 removes a feature's candidates
  const float* rates;            // [n_outputs], >= 0
  std::size_t n_threads;
};

// codes and gradients describe the same rows. The tree is valid until the thread grows its next:
// its storage, like all that growing needs, is kept from tree to tree.
// Source: Fuhrer, Tessler, Dalal, arXiv 2407.08250.
const Tree& grow(const Codes& codes, const Gradients& gradients, const GrowParams& params,
                 const TreeDraw& draw);

}  // namespace rlshare
