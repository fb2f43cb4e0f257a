// One reading form of a tree, whichever way it was grown: for people, files and tests.
#pragma once

#include <cstdint>
#include <vector>

#include "view.h"

namespace rlshare {

// Nodes [n_nodes], the root first, children adjacent and after their parent; an oblivious tree is
// unrolled to all of its 2^(depth + 1) - 1 nodes, level by level.
struct TreeArrays {
  std::vector<std::int32_t> feature;      // -1 in a leaf
  std::vector<float> threshold;           // +inf in a leaf
  std::vector<std::int32_t> left, right;  // a leaf's are itself
  std::vector<std::int32_t> leaf_row;     // of the tree's leaf table; -1 in an inner node
};

TreeArrays tree_arrays(const ForestView& view, std::size_t t);

}  // namespace rlshare
