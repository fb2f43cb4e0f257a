// What a tree is made of: tests of an oblivious tree, nodes of a greedy one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace rlshare {

enum class Growth : std::uint32_t { oblivious, greedy };

constexpr int kMaxDepth = 16;

// Rows per block of a prediction; one block is stored feature by feature.
constexpr std::size_t kBlockRows = 64;

// A test sends a row right when value > threshold (numeric) or value == threshold (categorical): a
// missing value, NaN, goes left. -Inf counts as the lowest number, so that the threshold kMissing
// is below all numbers and parts the missing values from them.
constexpr float kLowest = std::numeric_limits<float>::lowest();
constexpr float kMissing = -std::numeric_limits<float>::infinity();

struct Test {
  std::int32_t feature;
  float threshold;
};

// A node of a greedy tree. Children are adjacent: right = left + 1. A leaf points at itself with
// a threshold no value exceeds, so that a walk of fixed length needs no branch.
struct Node {
  std::int32_t feature;
  float threshold;
  std::int32_t left;
  std::int32_t leaf;  // row of the tree's leaf table, -1 on inner nodes
};

}  // namespace rlshare
