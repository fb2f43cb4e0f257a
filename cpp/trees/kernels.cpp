// Compiled once per instruction set; see kernels.h. Nothing here may call an inline function of
// the standard library: the linker could then pick a copy built for another instruction set.
#include "kernels.h"

#define RLSHARE_CONCAT_(a, b) a##b
#define RLSHARE_CONCAT(a, b) RLSHARE_CONCAT_(a, b)
#define RLSHARE_STRING_(a) #a
#define RLSHARE_STRING(a) RLSHARE_STRING_(a)

namespace rlshare {
namespace {

typedef float Float4 __attribute__((vector_size(16), aligned(4)));

inline void add4(float* to, const float* from) {
  *reinterpret_cast<Float4*>(to) += *reinterpret_cast<const Float4*>(from);
}

// kWidth = 0: width known at run time only.
template <typename Code, std::size_t kWidth>
void accumulate(const Code* codes, const std::uint32_t* rows, std::size_t n, const float* channels,
                std::size_t width, float* hist) {
  const std::size_t w = kWidth ? kWidth : width;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t row = rows[i];
    const float* from = channels + row * w;
    float* to = hist + static_cast<std::size_t>(codes[row]) * w;
    for (std::size_t c = 0; c < w; c += 4) add4(to + c, from + c);
  }
}

template <typename Code>
void histogram(const Code* codes, const std::uint32_t* rows, std::size_t n, const float* channels,
               std::size_t width, float* hist) {
  switch (width) {
    case 4:
      return accumulate<Code, 4>(codes, rows, n, channels, width, hist);
    case 8:
      return accumulate<Code, 8>(codes, rows, n, channels, width, hist);
    case 12:
      return accumulate<Code, 12>(codes, rows, n, channels, width, hist);
    case 20:
      return accumulate<Code, 20>(codes, rows, n, channels, width, hist);
    default:
      return accumulate<Code, 0>(codes, rows, n, channels, width, hist);
  }
}

void transpose_sums(const float* hist, std::size_t n_candidates, std::size_t width,
                    std::size_t n_channels, bool cumulative, float* left, std::size_t stride) {
  for (std::size_t c0 = 0; c0 < n_channels; c0 += 4) {
    const std::size_t lanes = n_channels - c0 < 4 ? n_channels - c0 : 4;
    float* out = left + c0 * stride;
    Float4 sum = {0.f, 0.f, 0.f, 0.f};
    for (std::size_t j = 0; j < n_candidates; ++j) {
      const Float4 here = *reinterpret_cast<const Float4*>(hist + j * width + c0);
      sum = cumulative ? sum + here : here;
      for (std::size_t c = 0; c < lanes; ++c) out[c * stride + j] = sum[c];
    }
  }
}

// One group of kScoreLanes candidates: n_L |mu_L|^2 + n_R |mu_R|^2.
template <WeightKind kWeights>
inline void score_group(const ScoreInput& in, std::size_t j0, float* __restrict scores) {
  float sum_l[kScoreLanes], sum_r[kScoreLanes], n_l[kScoreLanes], n_r[kScoreLanes];
  const float n = in.total[in.n_outputs];
  const float* counts = in.left + in.n_outputs * in.stride + j0;
  for (std::size_t k = 0; k < kScoreLanes; ++k) {
    sum_l[k] = 0.f;
    sum_r[k] = 0.f;
    n_l[k] = counts[k];
    n_r[k] = n - counts[k];
  }
  for (std::size_t c = 0; c < in.n_outputs; ++c) {
    const float* g = in.left + c * in.stride + j0;
    const float total = in.total[c];
    if constexpr (kWeights == WeightKind::none) {
      for (std::size_t k = 0; k < kScoreLanes; ++k) {
        const float right = total - g[k];
        sum_l[k] += g[k] * g[k];
        sum_r[k] += right * right;
      }
    } else {
      const std::size_t wc = in.n_outputs + 1 + (kWeights == WeightKind::per_output ? c : 0);
      const float* w = in.left + wc * in.stride + j0;
      const float w_total = in.total[wc];
      for (std::size_t k = 0; k < kScoreLanes; ++k) {
        const float w_r = w_total - w[k];
        const float mean_l = w[k] > 0.f && n_l[k] > 0.f ? g[k] / (w[k] + in.l2) : 0.f;
        const float mean_r = w_r > 0.f && n_r[k] > 0.f ? (total - g[k]) / (w_r + in.l2) : 0.f;
        sum_l[k] += mean_l * mean_l;
        sum_r[k] += mean_r * mean_r;
      }
    }
  }
  for (std::size_t k = 0; k < kScoreLanes; ++k) {
    float left, right;
    if constexpr (kWeights == WeightKind::none) {
      left = sum_l[k] / (n_l[k] + in.l2);
      right = sum_r[k] / (n_r[k] + in.l2);
    } else {
      left = sum_l[k] * (n_l[k] + in.l2);
      right = sum_r[k] * (n_r[k] + in.l2);
    }
    left = n_l[k] > 0.f ? left : 0.f;
    right = n_r[k] > 0.f ? right : 0.f;
    const float sum = left + right;
    const float result = in.cosine ? __builtin_sqrtf(sum) : sum;
    const bool allowed = (n_l[k] >= in.min_samples) & (n_r[k] >= in.min_samples);
    scores[k] = allowed ? result : -__builtin_inff();
  }
}

void score(const ScoreInput& in, float* scores) {
  for (std::size_t j = 0; j < in.n_candidates; j += kScoreLanes) {
    switch (in.weights) {
      case WeightKind::none:
        score_group<WeightKind::none>(in, j, scores + j);
        break;
      case WeightKind::per_row:
        score_group<WeightKind::per_row>(in, j, scores + j);
        break;
      case WeightKind::per_output:
        score_group<WeightKind::per_output>(in, j, scores + j);
        break;
    }
  }
}

// Adds n_outputs floats, read in fours: leaf buffers and acc have room for the surplus lanes.
template <std::size_t kFours>
inline void add_leaf(float* acc, const float* leaf, std::size_t fours) {
  const std::size_t m = kFours ? kFours : fours;
  for (std::size_t c = 0; c < m; ++c) add4(acc + 4 * c, leaf + 4 * c);
}

constexpr std::size_t kGroup = 16;  // rows whose leaf is searched together

template <std::size_t kFours>
void oblivious(const ObliviousView& view, const float* x, std::size_t rows, std::size_t begin,
               std::size_t end, float* acc) {
  const std::size_t fours = (view.n_outputs + 3) / 4;
  const std::size_t width = 4 * (kFours ? kFours : fours);
  for (std::size_t t = begin; t < end; ++t) {
    const Test* tests = view.tests + view.test_begin[t];
    const float* leaves = view.leaves + view.leaf_begin[t];
    const std::size_t depth = view.depth[t];
    for (std::size_t r0 = 0; r0 < rows; r0 += kGroup) {
      std::uint32_t index[kGroup] = {};
      for (std::size_t level = 0; level < depth; ++level) {
        const float* value = x + static_cast<std::size_t>(tests[level].feature) * kBlockRows + r0;
        const float threshold = tests[level].threshold;
        if (view.categorical[tests[level].feature]) {
          for (std::size_t r = 0; r < kGroup; ++r)
            index[r] = index[r] * 2 + static_cast<std::uint32_t>(value[r] == threshold);
        } else {
          for (std::size_t r = 0; r < kGroup; ++r)
            index[r] = index[r] * 2 + static_cast<std::uint32_t>(value[r] > threshold);
        }
      }
      const std::size_t last = rows - r0 < kGroup ? rows - r0 : kGroup;
      for (std::size_t r = 0; r < last; ++r)
        add_leaf<kFours>(acc + (r0 + r) * width, leaves + index[r] * view.n_outputs, fours);
    }
  }
}

void predict_oblivious(const ObliviousView& view, const float* x, std::size_t rows,
                       std::size_t begin, std::size_t end, float* acc) {
  switch ((view.n_outputs + 3) / 4) {
    case 1:
      return oblivious<1>(view, x, rows, begin, end, acc);
    case 2:
      return oblivious<2>(view, x, rows, begin, end, acc);
    default:
      return oblivious<0>(view, x, rows, begin, end, acc);
  }
}

template <bool kCategorical>
void greedy(const GreedyView& view, const float* x, std::size_t rows, std::size_t begin,
            std::size_t end, float* acc) {
  const std::size_t fours = (view.n_outputs + 3) / 4;
  for (std::size_t t = begin; t < end; ++t) {
    const Node* nodes = view.nodes + view.node_begin[t];
    const float* leaves = view.leaves + view.leaf_begin[t];
    std::int32_t at[kBlockRows] = {};
    for (std::size_t level = 0; level < view.depth[t]; ++level) {
      for (std::size_t r = 0; r < rows; ++r) {
        const Node node = nodes[at[r]];
        const float value = x[static_cast<std::size_t>(node.feature) * kBlockRows + r];
        bool right = value > node.threshold;
        if constexpr (kCategorical)
          right = view.categorical[node.feature] ? value == node.threshold : right;
        at[r] = node.left + static_cast<std::int32_t>(right);
      }
    }
    for (std::size_t r = 0; r < rows; ++r)
      add_leaf<0>(acc + r * 4 * fours,
                  leaves + static_cast<std::size_t>(nodes[at[r]].leaf) * view.n_outputs, fours);
  }
}

void predict_greedy(const GreedyView& view, const float* x, std::size_t rows, std::size_t begin,
                    std::size_t end, float* acc) {
  return view.any_categorical ? greedy<true>(view, x, rows, begin, end, acc)
                              : greedy<false>(view, x, rows, begin, end, acc);
}

}  // namespace

extern const Kernels RLSHARE_CONCAT(kernels_, RLSHARE_ISA);
const Kernels RLSHARE_CONCAT(kernels_, RLSHARE_ISA) = {RLSHARE_STRING(RLSHARE_ISA),
                                                       histogram<std::uint8_t>,
                                                       histogram<std::uint16_t>,
                                                       transpose_sums,
                                                       score,
                                                       predict_oblivious,
                                                       predict_greedy};

}  // namespace rlshare
