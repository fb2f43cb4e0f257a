// Scores of a feature's candidates in a node, from one histogram of sums and counts.
#pragma once

#include <cstddef>
#include <vector>

#include "binning.h"
#include "channels.h"

namespace rlshare {

struct SplitRule {
  Score score;
  float l2;
  float min_samples;
};

// Scores every candidate of one feature in one node; buffers are reused from node to node.
class Splitter {
 public:
  // Returns scores [n_candidates], -inf where a side has fewer than min_samples rows.
  const float* score(const FeatureBins& bins, bool categorical, const Channels& channels,
                     const std::uint32_t* rows, std::size_t n, const float* total,
                     const SplitRule& rule);
  // Of the last call: rows on one side of candidate j.
  float count(std::size_t j) const { return counts_[j]; }

 private:
  void sum_other_side(const Channels& channels, std::size_t m, bool categorical,
                      std::size_t stride);

  std::vector<float> hist_, left_, right_, scores_, counts_, before_;
};

}  // namespace rlshare
