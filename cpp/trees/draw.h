// Trees whose tests are drawn at random from rows, as extremely randomised trees have them (Geurts,
// Ernst, Wehenkel 2006): no gradient chooses among candidates, so that none chooses noise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "forest.h"

namespace rlshare {

struct RandomTrees {
  std::size_t n_trees;
  int depth;                   // tests of a tree; fewer where rows are alike
  std::vector<double> shares;  // [n_features]: how often a feature is tested, relative to others
  std::uint64_t seed;
};

// Appends oblivious trees whose leaves are 0. X: [n_rows, n_features]. A test is that of a drawn
// feature that parts two drawn rows; where the feature is the same in both, both are drawn again,
// so that a feature that hardly varies is hardly tested.
void draw_trees(Forest& forest, const float* X, std::size_t n_rows, const RandomTrees& trees);

}  // namespace rlshare
