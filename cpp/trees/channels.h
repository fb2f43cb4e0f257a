// What a histogram sums over the rows of a node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

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

}  // namespace rlshare
