// The inner loops of prediction, compiled once per instruction set (predict_kernels.cpp).
//
// Every kernel does the same float32 operations in the same order whatever the vector width, so
// that the instruction set never changes a result: lanes run over rows, tests or outputs, and no
// sum is ever split over lanes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rlshare {

// Rows per block of a prediction; one block is stored feature by feature.
constexpr std::size_t kBlockRows = 64;

// A test sends a row right when value > threshold (numeric) or value == threshold (categorical).
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

struct ObliviousView {
  const std::uint8_t* depth;        // [n_trees]
  const std::uint64_t* test_begin;  // [n_trees]
  const std::uint64_t* leaf_begin;  // [n_trees]: where a tree's leaf table starts, in floats
  const Test* tests;
  const float* leaves;
  const std::uint8_t* categorical;  // [n_features]
  const float* weights;             // [n_trees], or null for 1 each
  std::size_t n_features;
  std::size_t n_outputs;
  bool any_categorical;
};

struct GreedyView {
  const std::uint8_t* depth;        // [n_trees]
  const std::uint64_t* node_begin;  // [n_trees]
  std::size_t n_trees;
  std::size_t n_nodes;              // of all trees
  const std::uint64_t* leaf_begin;  // [n_trees]: where a tree's leaf table starts, in floats
  const Node* nodes;
  const float* leaves;
  const std::uint8_t* categorical;  // [n_features]
  const float* weights;             // [n_trees], or null for 1 each
  std::size_t n_outputs;
  bool any_categorical;
};

struct PredictKernels {
  // Adds trees [begin, end) to acc [rows, round_up(n_outputs, 4)]; x is [n_features, kBlockRows].
  void (*predict_oblivious)(const ObliviousView& view, const float* x, std::size_t rows,
                            std::size_t begin, std::size_t end, float* acc);
  void (*predict_greedy)(const GreedyView& view, const float* x, std::size_t rows,
                         std::size_t begin, std::size_t end, float* acc);
};

// Those of the instruction set in use.
const PredictKernels& predict_kernels();

}  // namespace rlshare
