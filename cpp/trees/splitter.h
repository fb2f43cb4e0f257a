// Scores of a feature's candidates in a node, from one histogram of sums and counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "binning.h"
#include "split_kernels.h"

namespace rlshare {

enum class Score : std::uint8_t { cosine, l2 };

// Per-sample gradients dL/dF [n_rows, n_outputs] and, optionally, weights of the same rows.
struct Gradients {
  const float* values;
  std::size_t n_rows;
  std::size_t n_outputs;
  const float* weights;  // [n_rows] or [n_rows, n_outputs], or null
  WeightKind weight_kind;

  float weight(std::size_t row, std::size_t output) const {
    if (weight_kind == WeightKind::none) return 1.f;
    return weights[weight_kind == WeightKind::per_row ? row : row * n_outputs + output];
  }
};

// What a histogram sums over rows: (weighted) gradients, a count, and the weights, padded.
// The l2 score sees gradients standardised per output; the cosine score sees them divided by
// `unit`, a power of two near the largest, which is exact and keeps squares within float32.
struct Channels {
  void fill(const Gradients& gradients, Score score);
  void sum(const std::uint32_t* rows, std::size_t n, float* total);  // total: [n_channels]

  std::size_t n_outputs = 0, n_channels = 0, width = 0;
  WeightKind weights = WeightKind::none;
  double unit = 1.0;
  std::vector<float> values;  // [n_rows, width]

 private:
  struct Standardisation {
    double mean = 0.0, scale = 1.0;
  };
  static Standardisation standardise(const Gradients& g, std::size_t output);

  std::vector<Standardisation> per_output_;
  std::vector<double> sums_;
};

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
