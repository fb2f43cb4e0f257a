// Fewer trees for the oldest part of a forest.
#pragma once

#include <cstddef>

#include "forest.h"

namespace rlshare {

// The forest with n_kept evenly spaced trees in place of trees [0, n_oldest): they keep their
// tests, and their leaves and the bias are refitted by backfitting (one tree after the other takes
// up a share of what is still missing) to the sum of all n_oldest on X [n_rows, n_features].
Forest compacted(const Forest& forest, const float* X, std::size_t n_rows, std::size_t n_oldest,
                 std::size_t n_kept);

}  // namespace rlshare
