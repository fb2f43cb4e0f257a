// Candidate thresholds of a batch, and the batch as codes: one column of small integers a feature.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rlshare {

enum class Candidates : std::uint8_t { quantile, uniform };

constexpr int kMaxBins = 255;                  // thresholds per numeric feature: codes fit uint8
constexpr std::size_t kMaxCategories = 65535;  // categories per feature and batch: codes fit uint16

// One feature's candidates and codes.
// numeric:     a row's code is the number of thresholds below its value, where -Inf counts as
//              kLowest (nodes.h). NaN has code 0; where there are both missing values and numbers,
//              the first threshold is kMissing, which parts them, so that codes of numbers are > 0.
// categorical: a row's code is the index of its category; a missing one has the code after the
// last.
struct FeatureBins {
  std::vector<float> candidates;     // ascending thresholds, or the categories of the batch
  std::vector<std::uint8_t> narrow;  // codes of the rows, one of the two
  std::vector<std::uint16_t> wide;
};

struct Codes {
  std::size_t n_rows = 0;
  std::vector<std::uint8_t> categorical;  // [n_features]
  std::vector<FeatureBins> features;

  std::size_t n_candidates() const;
  Codes take(const std::int64_t* rows, std::size_t n) const;  // candidates kept, codes of rows only
};

// X: [n_rows, n_features] float32; a categorical column holds category numbers, NaN where missing.
Codes bin(const float* X, std::size_t n_rows, const std::vector<std::uint8_t>& categorical,
          Candidates kind, int n_bins, std::size_t n_threads);

}  // namespace rlshare
