// Grows one tree on the gradients of a batch, level by level.
#pragma once

#include <vector>

#include "binning.h"
#include "forest.h"
#include "splitter.h"

namespace rlshare {

struct GrowParams {
  Growth growth;
  Score score;
  int max_depth;
  int min_samples_leaf;
  float l2;
  std::vector<float> feature_weights;  // [n_features]; 0 removes a feature's candidates
  std::vector<float> rates;            // [n_outputs]
  std::size_t n_threads;
};

// codes and gradients describe the same rows. Source: Fuhrer, Tessler, Dalal, arXiv 2407.08250.
Tree grow(const Codes& codes, const Gradients& gradients, const GrowParams& params);

}  // namespace rlshare
