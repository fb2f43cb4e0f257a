// A forest, and what its owner wants beside it, as bytes: versioned, checksummed, no pickle.
//
// Version 3, which is written, has these sections (sections.h):
//   forest         required  below
//   metadata       required  the owner's (UTF-8 JSON)
//   feature_names  optional  the owner's (UTF-8 JSON)
//   drawn_from     optional  the owner's (rows that tests will be drawn from; for going on alike)
//   linear         required  the owner's (a linear part of the prediction); only where there is one
// A reader skips optional sections it does not know, and refuses a file with required ones: without
// the linear part it would predict wrongly.
//
// Layout of a forest (all integers unsigned, little-endian; floats IEEE binary32; no padding):
//   growth        u32      0 oblivious, 1 greedy
//   n_features    u32      >= 1
//   n_outputs     u32      >= 1
//   n_trees       u64
//   n_tests       u64      oblivious tests, or greedy nodes, of all trees
//   n_leaf_floats u64      leaf values of all trees
//   categorical   u8  [n_features]        0 or 1
//   bias          f32 [n_outputs]
//   importances   f64 [3, n_features]     gain, cover, split; finite and >= 0
//   depth         u8  [n_trees]           <= 16
//   n_nodes       u32 [n_trees]           greedy only: nodes of each tree
//   tests         (feature u32, threshold f32) [n_tests]                       oblivious
//   nodes         (feature u32, threshold f32, left u32, leaf i32) [n_tests]   greedy
//   leaves        f32 [n_leaf_floats]
//   rates         f32 [n_trees, n_outputs]
// A greedy leaf has leaf >= 0 (each of a tree's leaves once), left = itself, threshold = +inf; an
// inner node has leaf = -1 and its children at left and left + 1, after itself. Thresholds as in
// nodes.h.
//
// Version 2, which is read, is the magic, the version, such a forest with the size of the metadata
// (u64) after n_leaf_floats, the metadata and the checksum. Its -inf was below every number but
// -inf, which is kLowest now.
#pragma once

#include <map>
#include <string>

#include "bytes.h"
#include "forest.h"

namespace rlshare {

using OwnersSections = std::map<std::string, std::string>;  // by name, all but the forest

struct ModelFile {
  Forest forest;
  OwnersSections sections;
};

// Throws std::invalid_argument for a section that is not named above.
std::string to_bytes(const Forest& forest, const OwnersSections& sections);
// Throws CorruptFile.
ModelFile from_bytes(const std::string& bytes);

}  // namespace rlshare
