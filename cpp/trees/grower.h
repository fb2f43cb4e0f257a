// Grows one tree on the gradients of a batch, level by level.
#pragma once

#include <vector>

#include "binning.h"
#include "forest.h"
#include "splitter.h"

namespace rlshare {

// F of an output must not fall (sign 1) or rise (sign -1) while a numeric feature rises.
struct Monotonic {
  std::size_t feature, output;
  int sign;
};

struct GrowParams {
  Growth growth;
  Score score;
  int max_depth;
  int min_samples_leaf;
  float l2;
  std::vector<float> feature_weights;  // [n_features]; 0 removes a feature's candidates
  std::vector<float> rates;            // [n_outputs], >= 0
  std::vector<Monotonic> monotonic;    // at most one a feature and output
  std::size_t n_threads;
};

// codes and gradients describe the same rows. The tree is valid until the thread grows its next:
// its storage, like all that growing needs, is kept from tree to tree.
// Source: Fuhrer, Tessler, Dalal, arXiv 2407.08250.
const Tree& grow(const Codes& codes, const Gradients& gradients, const GrowParams& params);

}  // namespace rlshare
