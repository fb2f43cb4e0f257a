// A forest as plain pointers and counts: what every reader of trees reads, from the kernels of a
// prediction to the file. Valid until the forest changes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nodes.h"

namespace rlshare {

struct ForestView {
  Growth growth;
  std::size_t n_features;
  std::size_t n_outputs;
  std::size_t n_trees;
  const std::uint8_t* categorical;  // [n_features]
  bool any_categorical;
  const float* bias;                     // [n_outputs]
  const std::uint8_t* depth;             // [n_trees]
  const std::uint64_t* structure_begin;  // [n_trees + 1]: where a tree's tests or nodes start
  const std::uint64_t* leaf_begin;       // [n_trees + 1]: where its leaf table starts, in floats
  const Test* tests;                     // oblivious: one a level, the root's first
  const Node* nodes;                     // greedy: the root first
  const float* leaves;                   // tables [n_leaves, n_outputs], -rate * mean gradient
  const float* rates;                    // [n_trees, n_outputs]: what the leaves were scaled with
};

}  // namespace rlshare
