// The inner loops of growing, compiled once per instruction set (split_kernels.cpp): sums of a
// node's rows by bin, and the scores of a feature's candidates.
//
// Every kernel does the same float32 operations in the same order whatever the vector width, so
// that the instruction set never changes a result: lanes run over bins, candidates or channels,
// and no sum is ever split over lanes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rlshare {

// Rows of a histogram, and of the per-sample channels added to it, are padded to this many floats.
constexpr std::size_t kChannelPad = 4;
// Candidates are scored in groups of this size; score buffers are padded to a multiple of it.
constexpr std::size_t kScoreLanes = 16;

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

struct SplitKernels {
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
};

// Those of the instruction set in use.
const SplitKernels& split_kernels();

}  // namespace rlshare
