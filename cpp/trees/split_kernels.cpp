// Compiled once per instruction set; see split_kernels.h. Nothing here may call an inline function
// of the standard library: the linker could then pick a copy built for another instruction set.
#include "split_kernels.h"

#include "../common/per_isa.h"
#include "fours.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace rlshare {
namespace {

typedef float Float8 __attribute__((vector_size(32), aligned(4), may_alias));

// kWidth = 0: width known at run time only.
template <typename Code, std::size_t kWidth>
void accumulate(const Code* codes, const std::uint32_t* rows, std::size_t n, const float* channels,
                std::size_t width, float* hist) {
  const std::size_t w = kWidth ? kWidth : width;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t row = rows[i];
    const float* from = channels + row * w;
    float* to = hist + static_cast<std::size_t>(codes[row]) * w;
    std::size_t c = 0;
    for (; c + 8 <= w; c += 8)
      *reinterpret_cast<Float8*>(to + c) += *reinterpret_cast<const Float8*>(from + c);
    if (c < w) add4(to + c, from + c);
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

// Rows a, b, c, d of four bins to four channels' runs of four bins, `stride` apart.
inline void store_transposed(Float4 a, Float4 b, Float4 c, Float4 d, float* out,
                             std::size_t stride) {
  const Float4 columns[4] = {{a[0], b[0], c[0], d[0]},
                             {a[1], b[1], c[1], d[1]},
                             {a[2], b[2], c[2], d[2]},
                             {a[3], b[3], c[3], d[3]}};
  for (std::size_t k = 0; k < 4; ++k) *reinterpret_cast<Float4*>(out + k * stride) = columns[k];
}

template <bool kCumulative>
void transpose(const float* hist, std::size_t n_candidates, std::size_t width, float* left,
               std::size_t stride) {
  for (std::size_t c0 = 0; c0 < width; c0 += 4) {
    Float4 sum = {0.f, 0.f, 0.f, 0.f}, rows[4];
    for (std::size_t j0 = 0; j0 < n_candidates; j0 += 4) {
      for (std::size_t k = 0; k < 4; ++k) {
        const Float4 here = *reinterpret_cast<const Float4*>(hist + (j0 + k) * width + c0);
        sum = kCumulative ? sum + here : here;
        rows[k] = sum;
      }
      store_transposed(rows[0], rows[1], rows[2], rows[3], left + c0 * stride + j0, stride);
    }
  }
}

void transpose_sums(const float* hist, std::size_t n_candidates, std::size_t width, bool cumulative,
                    float* left, std::size_t stride) {
  return cumulative ? transpose<true>(hist, n_candidates, width, left, stride)
                    : transpose<false>(hist, n_candidates, width, left, stride);
}

#if defined(__AVX512F__)
constexpr std::size_t kLanes = 16;
#elif defined(__AVX2__)
constexpr std::size_t kLanes = 8;
#else
constexpr std::size_t kLanes = 4;
#endif
static_assert(kScoreLanes % kLanes == 0, "score buffers are padded to whole vectors");
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

inline Lanes load(const float* from) { return *reinterpret_cast<const Lanes*>(from); }

inline Lanes where_positive(Lanes condition, Lanes value) {
  const Lanes zero = {};
  return condition > zero ? value : zero;
}

// With weights: n_L |mu_L|^2 + n_R |mu_R|^2 of kLanes candidates.
template <WeightKind kWeights>
inline Lanes weighted_lanes(const ScoreInput& in, std::size_t j) {
  const Lanes n_l = load(in.left + in.n_outputs * in.stride + j);
  const Lanes n_r = in.total[in.n_outputs] - n_l;
  Lanes sum_l = {}, sum_r = {};
  for (std::size_t c = 0; c < in.n_outputs; ++c) {
    const std::size_t wc = in.n_outputs + 1 + (kWeights == WeightKind::per_output ? c : 0);
    const Lanes w_l = load(in.left + wc * in.stride + j);
    const Lanes w_r = load(in.right + wc * in.stride + j);
    const Lanes left = load(in.left + c * in.stride + j) / (w_l + in.l2);
    const Lanes right = load(in.right + c * in.stride + j) / (w_r + in.l2);
    const Lanes mean_l = where_positive(n_l, where_positive(w_l, left));
    const Lanes mean_r = where_positive(n_r, where_positive(w_r, right));
    sum_l += mean_l * mean_l;
    sum_r += mean_r * mean_r;
  }
  return where_positive(n_l, sum_l * (n_l + in.l2)) + where_positive(n_r, sum_r * (n_r + in.l2));
}

template <WeightKind kWeights>
void score_weighted(const ScoreInput& in, float* scores, float* counts) {
  const float* n_l = in.left + in.n_outputs * in.stride;
  for (std::size_t j = 0; j < in.n_candidates; j += kLanes) {
    *reinterpret_cast<Lanes*>(scores + j) = weighted_lanes<kWeights>(in, j);
    *reinterpret_cast<Lanes*>(counts + j) = load(n_l + j);
  }
}

// Four channels of kLanes rows, rows[i] = (c0, c1, c2, c3) of row i, to four vectors of one
// channel.
inline void to_channels(const Float4* rows, Lanes* channels) {
#if defined(__SSE2__)
#if defined(__AVX512F__)
  const auto join = [rows](std::size_t i) {
    __m512 v = _mm512_castps128_ps512(rows[i]);
    v = _mm512_insertf32x4(v, rows[i + 4], 1);
    v = _mm512_insertf32x4(v, rows[i + 8], 2);
    return _mm512_insertf32x4(v, rows[i + 12], 3);
  };
#define RLSHARE_LANES(operation) _mm512_##operation
#elif defined(__AVX2__)
  const auto join = [rows](std::size_t i) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(rows[i]), rows[i + 4], 1);
  };
#define RLSHARE_LANES(operation) _mm256_##operation
#else
  const auto join = [rows](std::size_t i) { return static_cast<__m128>(rows[i]); };
#define RLSHARE_LANES(operation) _mm_##operation
#endif
  // Each 128-bit part of a, b, c and d is one row of a 4x4 block.
  const auto a = join(0), b = join(1), c = join(2), d = join(3);
  const auto ab_low = RLSHARE_LANES(unpacklo_ps)(a, b), ab_high = RLSHARE_LANES(unpackhi_ps)(a, b);
  const auto cd_low = RLSHARE_LANES(unpacklo_ps)(c, d), cd_high = RLSHARE_LANES(unpackhi_ps)(c, d);
  channels[0] = RLSHARE_LANES(shuffle_ps)(ab_low, cd_low, 0x44);
  channels[1] = RLSHARE_LANES(shuffle_ps)(ab_low, cd_low, 0xee);
  channels[2] = RLSHARE_LANES(shuffle_ps)(ab_high, cd_high, 0x44);
  channels[3] = RLSHARE_LANES(shuffle_ps)(ab_high, cd_high, 0xee);
#undef RLSHARE_LANES
#else
  for (std::size_t c = 0; c < 4; ++c)
    for (std::size_t i = 0; i < kLanes; ++i) channels[c][i] = rows[i][c];
#endif
}

// Without weights, straight from the histogram. Sums over codes are made four codes at a time:
// their pairs do not wait for the sums before them.
template <bool kCumulative>
void score_unweighted(const ScoreInput& in, float* scores, float* counts) {
  for (std::size_t c = 0; c < in.width; ++c) in.before[c] = 0.f;
  const float n = in.total[in.n_outputs];
  for (std::size_t j0 = 0; j0 < in.n_candidates; j0 += kLanes) {
    Lanes squares_l = {}, squares_r = {}, n_l = {};
    for (std::size_t c0 = 0; c0 < in.width; c0 += 4) {
      Float4 left[kLanes];
      Float4 before = *reinterpret_cast<const Float4*>(in.before + c0);
      for (std::size_t i = 0; i < kLanes; i += 4) {
        Float4 code[4];
        for (std::size_t k = 0; k < 4; ++k)
          code[k] = *reinterpret_cast<const Float4*>(in.hist + (j0 + i + k) * in.width + c0);
        if constexpr (kCumulative) {
          left[i] = before + code[0];
          left[i + 1] = before + (code[0] + code[1]);
          left[i + 2] = left[i + 1] + code[2];
          left[i + 3] = left[i + 1] + (code[2] + code[3]);
          before = left[i + 3];
        } else {
          for (std::size_t k = 0; k < 4; ++k) left[i + k] = code[k];
        }
      }
      *reinterpret_cast<Float4*>(in.before + c0) = before;
      Lanes channels[4];
      to_channels(left, channels);
      for (std::size_t k = 0; k < 4; ++k) {
        if (c0 + k > in.n_outputs) break;
        if (c0 + k == in.n_outputs) {
          n_l = channels[k];
        } else {
          const Lanes right = in.total[c0 + k] - channels[k];
          squares_l += channels[k] * channels[k];
          squares_r += right * right;
        }
      }
    }
    const Lanes n_r = n - n_l;
    *reinterpret_cast<Lanes*>(counts + j0) = n_l;
    *reinterpret_cast<Lanes*>(scores + j0) = where_positive(n_l, squares_l / (n_l + in.l2)) +
                                             where_positive(n_r, squares_r / (n_r + in.l2));
  }
}

void score(const ScoreInput& in, float* __restrict scores, float* __restrict counts) {
  switch (in.weights) {
    case WeightKind::none:
      if (in.cumulative)
        score_unweighted<true>(in, scores, counts);
      else
        score_unweighted<false>(in, scores, counts);
      break;
    case WeightKind::per_row:
      score_weighted<WeightKind::per_row>(in, scores, counts);
      break;
    case WeightKind::per_output:
      score_weighted<WeightKind::per_output>(in, scores, counts);
      break;
  }
  if (in.cosine)
    for (std::size_t j = 0; j < in.n_candidates; ++j) scores[j] = __builtin_sqrtf(scores[j]);
  if (in.min_samples > 0.f) {
    const float n = in.total[in.n_outputs];
    for (std::size_t j = 0; j < in.n_candidates; ++j) {
      const bool allowed = (counts[j] >= in.min_samples) & (n - counts[j] >= in.min_samples);
      scores[j] = allowed ? scores[j] : -__builtin_inff();
    }
  }
}

}  // namespace

RLSHARE_DEFINE_TABLE(SplitKernels, split_kernels) = {
    histogram<std::uint8_t>, histogram<std::uint16_t>, transpose_sums, score};

}  // namespace rlshare
