// A forest as bytes: versioned, little-endian, checksummed, no pickle.
//
// Layout (all integers unsigned, little-endian; floats IEEE binary32; no padding):
//   magic         8 bytes  "RLSHARE\x1a"
//   version       u32      2
//   growth        u32      0 oblivious, 1 greedy
//   n_features    u32      >= 1
//   n_outputs     u32      >= 1
//   n_trees       u64
//   n_tests       u64      oblivious tests, or greedy nodes, of all trees
//   n_leaf_floats u64      leaf values of all trees
//   n_metadata    u64      bytes
//   categorical   u8  [n_features]        0 or 1
//   bias          f32 [n_outputs]
//   importances   f64 [3, n_features]     gain, cover, split; finite and >= 0
//   depth         u8  [n_trees]           <= 16
//   n_nodes       u32 [n_trees]           greedy only: nodes of each tree
//   tests         (feature u32, threshold f32) [n_tests]                       oblivious
//   nodes         (feature u32, threshold f32, left u32, leaf i32) [n_tests]   greedy
//   leaves        f32 [n_leaf_floats]
//   rates         f32 [n_trees, n_outputs]
//   metadata      n_metadata bytes, the caller's (UTF-8 JSON)
//   checksum      u64 of all bytes before it (see checksum())
// A greedy leaf has leaf >= 0 (each of a tree's leaves once), left = itself, threshold = +inf; an
// inner node has leaf = -1 and its children at left and left + 1, after itself.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "forest.h"

namespace rlshare {

// The bytes are not a forest; what() says what is wrong with them.
struct CorruptFile : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

std::uint64_t checksum(const char* data, std::size_t n);

std::string to_bytes(const Forest& forest, const std::string& metadata);
Forest from_bytes(const std::string& bytes, std::string& metadata);

}  // namespace rlshare
