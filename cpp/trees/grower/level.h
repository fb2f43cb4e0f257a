// The level of a tree that is being grown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "../channels.h"

namespace rlshare {

// A node of the level: rows [begin, end) of the grower's row order.
struct LevelNode {
  std::size_t begin, end;
  std::size_t id;  // greedy: index in the tree's nodes

  std::size_t n_rows() const { return end - begin; }
};

// A candidate of a feature, and what it scores.
struct Split {
  std::size_t feature = 0, candidate = 0;
  float score = -std::numeric_limits<float>::infinity();  // times the feature's weight
  float plain = 0.f;                                      // without it

  bool found() const { return score > -std::numeric_limits<float>::infinity(); }
  bool same_test(const Split& other) const {
    return feature == other.feature && candidate == other.candidate;
  }
};

// The (weighted) sum of raw gradients of an output.
struct Sum {
  double gradient = 0.0, weight = 0.0;

  void add(double g, double w) {
    gradient += w * g;
    weight += w;
  }
  double mean(double l2) const { return weight > 0.0 ? gradient / (weight + l2) : 0.0; }
};

// Over the rows of a node.
inline Sum sum(const Gradients& gradients, const std::uint32_t* rows, const LevelNode& node,
               std::size_t output) {
  Sum sum;
  for (std::size_t i = node.begin; i < node.end; ++i)
    sum.add(gradients.values[rows[i] * gradients.n_outputs + output],
            gradients.weight(rows[i], output));
  return sum;
}

}  // namespace rlshare
