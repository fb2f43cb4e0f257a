// In which leaf of each tree rows end: found once for as long as the tests of the trees stay.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "view.h"

namespace rlshare {

// Rows [n_rows, n_features] feature by feature, with -inf as the lowest number.
std::vector<float> columns_of(const float* X, std::size_t n_rows, std::size_t n_features);

// The leaves of rows in tree t, as rows of its leaf table. leaf: [n_rows].
void find_leaves(const ForestView& view, std::size_t t, const float* columns, std::size_t n_rows,
                 std::uint16_t* leaf);

constexpr std::size_t kTogether = 8;  // trees whose leaves of a row lie side by side

struct LeafIds {
  std::size_t n_rows = 0, n_trees = 0;
  std::vector<std::uint16_t> values;  // [n_groups, n_rows, kTogether], 0 beyond the last tree

  std::size_t n_groups() const { return (n_trees + kTogether - 1) / kTogether; }
  std::size_t n_in(std::size_t group) const {
    return std::min(kTogether, n_trees - group * kTogether);
  }
  const std::uint16_t* of_group(std::size_t group) const {
    return values.data() + group * n_rows * kTogether;
  }
};

// Groups of trees in parallel.
LeafIds leaf_ids(const ForestView& view, const float* X, std::size_t n_rows, std::size_t n_threads);

}  // namespace rlshare
