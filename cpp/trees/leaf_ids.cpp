#include "leaf_ids.h"

#include <algorithm>

#include "../common/thread_pool.h"

namespace rlshare {
namespace {

constexpr std::size_t kThreadsFrom = 200000;  // (row, tree) pairs below which threads cost more

void find_oblivious(const ForestView& view, const Test* tests, std::size_t depth,
                    const float* columns, std::size_t n_rows, std::uint16_t* leaf) {
  std::fill_n(leaf, n_rows, std::uint16_t{0});
  for (const Test* test = tests; test < tests + depth; ++test) {
    const float* value = columns + static_cast<std::size_t>(test->feature) * n_rows;
    const float threshold = test->threshold;
    if (view.categorical[test->feature])
      for (std::size_t i = 0; i < n_rows; ++i)
        leaf[i] = static_cast<std::uint16_t>(leaf[i] * 2 + (value[i] == threshold));
    else
      for (std::size_t i = 0; i < n_rows; ++i)
        leaf[i] = static_cast<std::uint16_t>(leaf[i] * 2 + (value[i] > threshold));
  }
}

void find_greedy(const ForestView& view, const Node* root, const float* columns, std::size_t n_rows,
                 std::uint16_t* leaf) {
  for (std::size_t i = 0; i < n_rows; ++i) {
    const Node* node = root;
    while (node->leaf < 0) {
      const float value = columns[static_cast<std::size_t>(node->feature) * n_rows + i];
      const bool right =
          view.categorical[node->feature] ? value == node->threshold : value > node->threshold;
      node = root + node->left + right;
    }
    leaf[i] = static_cast<std::uint16_t>(node->leaf);
  }
}

}  // namespace

std::vector<float> columns_of(const float* X, std::size_t n_rows, std::size_t n_features) {
  std::vector<float> columns(n_rows * n_features);
  for (std::size_t i = 0; i < n_rows; ++i)
    for (std::size_t f = 0; f < n_features; ++f)
      columns[f * n_rows + i] = std::max(X[i * n_features + f], kLowest);
  return columns;
}

void find_leaves(const ForestView& view, std::size_t t, const float* columns, std::size_t n_rows,
                 std::uint16_t* leaf) {
  static_assert(kMaxDepth <= 16);
  if (view.growth == Growth::oblivious)
    find_oblivious(view, view.tests + view.structure_begin[t], view.depth[t], columns, n_rows,
                   leaf);
  else
    find_greedy(view, view.nodes + view.structure_begin[t], columns, n_rows, leaf);
}

LeafIds leaf_ids(const ForestView& view, const float* X, std::size_t n_rows,
                 std::size_t n_threads) {
  LeafIds ids = {n_rows, view.n_trees, {}};
  ids.values.assign(ids.n_groups() * n_rows * kTogether, 0);
  const std::vector<float> columns = columns_of(X, n_rows, view.n_features);
  if (n_rows * view.n_trees < kThreadsFrom) n_threads = 1;
  parallel_for(ids.n_groups(), n_threads, [&](std::size_t group) {
    std::vector<std::uint16_t> leaf(n_rows);
    for (std::size_t k = 0; k < ids.n_in(group); ++k) {
      find_leaves(view, group * kTogether + k, columns.data(), n_rows, leaf.data());
      std::uint16_t* to = ids.values.data() + group * n_rows * kTogether + k;
      for (std::size_t i = 0; i < n_rows; ++i) to[i * kTogether] = leaf[i];
    }
  });
  return ids;
}

}  // namespace rlshare
