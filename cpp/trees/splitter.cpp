#include "splitter.h"

#include "../common/round_up.h"

namespace rlshare {

// With weights of many magnitudes the difference total - left would lose a side whose weights are
// small or zero, and its mean with it: that side is summed by itself.
void Splitter::sum_other_side(const Channels& channels, std::size_t m, bool categorical,
                              std::size_t stride) {
  right_.resize(stride * channels.width);
  for (std::size_t c = 0; c < channels.n_channels; ++c) {
    const float* code = hist_.data() + c;
    float* right = right_.data() + c * stride;
    float after = 0.f, before = 0.f;
    for (std::size_t j = m; j-- > 0;) {
      after += code[(j + 1) * channels.width];
      right[j] = after;
    }
    if (!categorical) continue;
    for (std::size_t j = 0; j < m; ++j) {
      right[j] += before;
      before += code[j * channels.width];
    }
  }
}

const float* Splitter::score(const FeatureBins& bins, bool categorical, const Channels& channels,
                             const std::uint32_t* rows, std::size_t n, const float* total,
                             const SplitRule& rule) {
  const SplitKernels& k = split_kernels();
  const std::size_t m = bins.candidates.size(), stride = round_up(m, kScoreLanes);
  hist_.assign(round_up(m + 1, kScoreLanes) * channels.width, 0.f);
  scores_.resize(stride);
  counts_.resize(stride);
  before_.resize(channels.width);
  if (bins.wide.empty())
    k.histogram_u8(bins.narrow.data(), rows, n, channels.values.data(), channels.width,
                   hist_.data());
  else
    k.histogram_u16(bins.wide.data(), rows, n, channels.values.data(), channels.width,
                    hist_.data());
  if (channels.weights != WeightKind::none) {
    left_.resize(stride * channels.width);
    k.transpose_sums(hist_.data(), m, channels.width, !categorical, left_.data(), stride);
    sum_other_side(channels, m, categorical, stride);
  }
  const ScoreInput in = {hist_.data(),
                         channels.width,
                         !categorical,
                         before_.data(),
                         left_.data(),
                         right_.data(),
                         stride,
                         total,
                         m,
                         channels.n_outputs,
                         channels.weights,
                         rule.l2,
                         rule.min_samples,
                         rule.score == Score::cosine};
  k.score(in, scores_.data(), counts_.data());
  return scores_.data();
}

}  // namespace rlshare
