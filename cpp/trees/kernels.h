// The inner loops, compiled once per instruction set (kernels.cpp) and reached through one table.
//
// Every kernel does the same float32 operations in the same order whatever the vector width, so
// that the instruction set never changes a result: lanes run over bins, candidates or rows, and
// no sum is ever split over lanes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rlshare {

// Rows of a histogram, and of the per-sample channels added to it, are padded to this many floats.
constexpr std::size_t kChannelPad = 4;
// Candidates are scored in groups of this size; score buffers are padded to a multiple of it.
constexpr std::size_t kScoreLanes = 16;
// Rows per block of a prediction; one block is stored feature by feature.
constexpr std::size_t kBlockRows = 64;

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

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

enum class WeightKind : std::uint8_t { none, per_row, per_output };

// Everything needed to score the candidates of one feature in one node.
struct ScoreInput {
  const float* hist;  // without weights: [n_candidates, width], padded to a multiple of 4 rows
  std::size_t width;
  bool cumulative;     // a candidate's left side is all codes up to its own, or that code alone
  float* before;       // without weights: [width], overwritten
  const float* left;   // with weights: [n_channels, stride], sums on one side of each candidate
  const float* right;  // likewise on the other side (see Splitter)
  std::size_t stride;  // distance between channels, a multiple of kScoreLanes
  const float* total;  // [n_channels]: sums of the node
  std::size_t n_candidates;
  std::size_t n_outputs;
  WeightKind weights;
  float l2;
  float min_samples;  // both sides must hold at least this many rows
  bool cosine;
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

struct Kernels {
  // hist[code] += channels[row] for the rows of one node; hist is [n_codes, width].
  void (*histogram_u8)(const std::uint8_t* codes, const std::uint32_t* rows, std::size_t n,
                       const float* channels, std::size_t width, float* hist);
  void (*histogram_u16)(const std::uint16_t* codes, const std::uint32_t* rows, std::size_t n,
                        const float* channels, std::size_t width, float* hist);
  // left[c, j] = sum over codes <= j (cumulative) or the code j alone, of channel c. Both arrays
  // are padded: hist to a multiple of 4 bins, left to `width` channels.
  void (*transpose_sums)(const float* hist, std::size_t n_candidates, std::size_t width,
                         bool cumulative, float* left, std::size_t stride);
  // scores[j] of every candidate, -inf where it leaves a side with too few rows, and counts[j], the
  // rows on its left. Both arrays are padded to a multiple of kScoreLanes.
  void (*score)(const ScoreInput& in, float* scores, float* counts);
  // Adds trees [begin, end) to acc [rows, round_up(n_outputs, 4)]; x is [n_features, kBlockRows].
  void (*predict_oblivious)(const ObliviousView& view, const float* x, std::size_t rows,
                            std::size_t begin, std::size_t end, float* acc);
  void (*predict_greedy)(const GreedyView& view, const float* x, std::size_t rows,
                         std::size_t begin, std::size_t end, float* acc);
};

// Those of the instruction set in use.
const Kernels& kernels();

}  // namespace rlshare
