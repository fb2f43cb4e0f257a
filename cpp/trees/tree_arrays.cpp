#include "tree_arrays.h"

#include <limits>

namespace rlshare {
namespace {

void add_inner(TreeArrays& arrays, std::int32_t feature, float threshold, std::int32_t left) {
  arrays.feature.push_back(feature);
  arrays.threshold.push_back(threshold);
  arrays.left.push_back(left);
  arrays.right.push_back(left + 1);
  arrays.leaf_row.push_back(-1);
}

void add_leaf(TreeArrays& arrays, std::int32_t row) {
  const std::int32_t here = static_cast<std::int32_t>(arrays.feature.size());
  arrays.feature.push_back(-1);
  arrays.threshold.push_back(std::numeric_limits<float>::infinity());
  arrays.left.push_back(here);
  arrays.right.push_back(here);
  arrays.leaf_row.push_back(row);
}

}  // namespace

TreeArrays tree_arrays(const ForestView& view, std::size_t t) {
  TreeArrays arrays;
  if (view.growth == Growth::greedy) {
    const Node* end = view.nodes + view.structure_begin[t + 1];
    for (const Node* node = view.nodes + view.structure_begin[t]; node < end; ++node)
      if (node->leaf < 0)
        add_inner(arrays, node->feature, node->threshold, node->left);
      else
        add_leaf(arrays, node->leaf);
    return arrays;
  }
  const Test* tests = view.tests + view.structure_begin[t];
  const std::int32_t depth = view.depth[t];
  for (std::int32_t level = 0, node = 0; level < depth; ++level)
    for (std::int32_t k = 0; k < 1 << level; ++k, ++node)
      add_inner(arrays, tests[level].feature, tests[level].threshold, 2 * node + 1);
  for (std::int32_t row = 0; row < 1 << depth; ++row) add_leaf(arrays, row);
  return arrays;
}

}  // namespace rlshare
