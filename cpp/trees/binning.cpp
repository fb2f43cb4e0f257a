#include "binning.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "../common/thread_pool.h"
#include "nodes.h"

namespace rlshare {
namespace {

// A value's sort key above the row it came from, so that one sort gives order and values.
using Keyed = std::uint64_t;

// Order-preserving: negative floats are reversed, positive ones moved above them.
std::uint32_t sort_key(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

float key_value(std::uint32_t key) {
  const std::uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

float value_of(Keyed k) { return key_value(static_cast<std::uint32_t>(k >> 32)); }
std::size_t row_of(Keyed k) { return static_cast<std::uint32_t>(k); }

constexpr std::size_t kRadixFrom = 256;  // rows from which a radix sort beats std::sort

void sort_keyed(std::vector<Keyed>& keyed, std::vector<Keyed>& scratch) {
  if (keyed.size() < kRadixFrom) {
    std::sort(keyed.begin(), keyed.end());
    return;
  }
  constexpr int kBits = 11;
  constexpr std::uint32_t kMask = (1u << kBits) - 1;
  std::array<std::array<std::uint32_t, kMask + 1>, 3> counts{};
  for (Keyed k : keyed)
    for (int pass = 0; pass < 3; ++pass) ++counts[pass][(k >> (32 + pass * kBits)) & kMask];
  scratch.resize(keyed.size());
  for (int pass = 0; pass < 3; ++pass) {
    std::uint32_t begin = 0;
    for (std::uint32_t& count : counts[pass]) begin += std::exchange(count, begin);
    for (Keyed k : keyed) scratch[counts[pass][(k >> (32 + pass * kBits)) & kMask]++] = k;
    keyed.swap(scratch);
  }
}

// Thresholds of a column beside kMissing, which takes one of the codes.
int n_beside(int n_bins, bool some_missing) {
  return some_missing ? std::min(n_bins, kMaxBins - 1) : n_bins;
}

// The values of n_bins of n_bins + 1 nearly equal-count bins' last rows.
std::vector<float> quantile_candidates(const std::vector<Keyed>& sorted, int n_bins) {
  std::vector<float> out;
  out.reserve(kMaxBins);
  const std::size_t bins = static_cast<std::size_t>(n_bins) + 1;
  const std::size_t base = sorted.size() / bins, extra = sorted.size() % bins;
  std::size_t last = 0;
  for (std::size_t b = 0; b + 1 < bins; ++b) {
    last += base + (b < extra);
    if (last == 0) break;
    const float value = value_of(sorted[last - 1]);
    if (out.empty() || out.back() != value) out.push_back(value);
  }
  return out;
}

std::vector<float> uniform_candidates(const float* column, std::size_t stride, std::size_t n,
                                      int n_bins) {
  float low = std::numeric_limits<float>::infinity(), high = -low;
  for (std::size_t i = 0; i < n; ++i) {
    const float value = column[i * stride];
    if (!std::isfinite(value)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  std::vector<float> out;
  if (!(low <= high)) return out;
  const float step = static_cast<float>(double(high) / n_bins - double(low) / n_bins);
  for (int b = 0; b < n_bins; ++b) {
    const float value = static_cast<float>(double(low) + b * double(step));
    if (out.empty() || out.back() != value) out.push_back(value);
  }
  return out;
}

void quantile_bins(const float* column, std::size_t stride, std::size_t n, int n_bins,
                   FeatureBins& bins) {
  std::vector<Keyed> keyed, scratch;
  keyed.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    const float value = column[i * stride] + 0.f;  // -0 becomes 0: they compare equal
    if (!std::isnan(value)) keyed.push_back(Keyed{sort_key(value)} << 32 | i);
  }
  sort_keyed(keyed, scratch);
  for (Keyed& k : keyed) {  // -Inf comes first, and counts as the lowest number
    if (value_of(k) >= kLowest) break;
    k = Keyed{sort_key(kLowest)} << 32 | row_of(k);
  }
  const bool some_missing = !keyed.empty() && keyed.size() < n;
  bins.candidates = quantile_candidates(keyed, n_beside(n_bins, some_missing));
  if (some_missing) bins.candidates.insert(bins.candidates.begin(), kMissing);
  bins.narrow.assign(n, 0);
  const float* candidates = bins.candidates.data();
  const std::size_t n_candidates = bins.candidates.size();
  std::uint8_t* narrow = bins.narrow.data();
  std::size_t code = 0;
  for (Keyed k : keyed) {
    const float value = value_of(k);
    while (code < n_candidates && candidates[code] < value) ++code;
    narrow[row_of(k)] = static_cast<std::uint8_t>(code);
  }
}

void uniform_bins(const float* column, std::size_t stride, std::size_t n, int n_bins,
                  FeatureBins& bins) {
  std::size_t n_missing = 0;
  for (std::size_t i = 0; i < n; ++i) n_missing += std::isnan(column[i * stride]);
  const bool some_missing = n_missing > 0 && n_missing < n;
  bins.candidates = uniform_candidates(column, stride, n, n_beside(n_bins, some_missing));
  if (some_missing) bins.candidates.insert(bins.candidates.begin(), kMissing);
  bins.narrow.assign(n, 0);
  const auto begin = bins.candidates.begin(), end = bins.candidates.end();
  for (std::size_t i = 0; i < n; ++i) {
    const float value = column[i * stride];
    if (!std::isnan(value))
      bins.narrow[i] =
          static_cast<std::uint8_t>(std::lower_bound(begin, end, std::max(value, kLowest)) - begin);
  }
}

void categorical_bins(const float* column, std::size_t stride, std::size_t n, std::size_t feature,
                      FeatureBins& bins) {
  std::vector<float>& found = bins.candidates;
  for (std::size_t i = 0; i < n; ++i)
    if (!std::isnan(column[i * stride])) found.push_back(column[i * stride]);
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  if (found.size() > kMaxCategories)
    throw std::invalid_argument(
        "a categorical feature may have at most 65535 categories in one batch, feature " +
        std::to_string(feature) + " has " + std::to_string(found.size()));
  const auto code = [&](float value) {
    return std::isnan(value)
               ? found.size()
               : std::size_t(std::lower_bound(found.begin(), found.end(), value) - found.begin());
  };
  if (found.size() <= 255) {
    bins.narrow.resize(n);
    for (std::size_t i = 0; i < n; ++i)
      bins.narrow[i] = static_cast<std::uint8_t>(code(column[i * stride]));
  } else {
    bins.wide.resize(n);
    for (std::size_t i = 0; i < n; ++i)
      bins.wide[i] = static_cast<std::uint16_t>(code(column[i * stride]));
  }
}

constexpr std::size_t kThreadsFrom = 20000;  // values below which waking threads costs more

}  // namespace

std::size_t Codes::n_candidates() const {
  std::size_t n = 0;
  for (const FeatureBins& f : features) n += f.candidates.size();
  return n;
}

Codes Codes::take(const std::int64_t* rows, std::size_t n) const {
  Codes out;
  out.n_rows = n;
  out.categorical = categorical;
  out.features.resize(features.size());
  for (std::size_t f = 0; f < features.size(); ++f) {
    const FeatureBins& from = features[f];
    FeatureBins& to = out.features[f];
    to.candidates = from.candidates;
    to.narrow.resize(from.wide.empty() ? n : 0);
    to.wide.resize(from.wide.empty() ? 0 : n);
    for (std::size_t i = 0; i < to.narrow.size(); ++i) to.narrow[i] = from.narrow[rows[i]];
    for (std::size_t i = 0; i < to.wide.size(); ++i) to.wide[i] = from.wide[rows[i]];
  }
  return out;
}

Codes bin(const float* X, std::size_t n_rows, const std::vector<std::uint8_t>& categorical,
          Candidates kind, int n_bins, std::size_t n_threads) {
  Codes codes;
  const std::size_t d = categorical.size();
  codes.n_rows = n_rows;
  codes.categorical = categorical;
  codes.features.resize(d);
  parallel_for(d, n_rows * d < kThreadsFrom ? 1 : n_threads, [&](std::size_t f) {
    FeatureBins& bins = codes.features[f];
    if (categorical[f])
      categorical_bins(X + f, d, n_rows, f, bins);
    else if (kind == Candidates::quantile)
      quantile_bins(X + f, d, n_rows, n_bins, bins);
    else
      uniform_bins(X + f, d, n_rows, n_bins, bins);
  });
  return codes;
}

}  // namespace rlshare
