// Compiled once per instruction set; see predict_kernels.h. Nothing here may call an inline
// function of the standard library: the linker could then pick a copy built for another instruction
// set.
#include "predict_kernels.h"

#include "../common/per_isa.h"
#include "fours.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace rlshare {
namespace {

// Adds n_outputs floats, read in fours: leaf buffers and acc have room for the surplus lanes.
template <std::size_t kFours, bool kWeighted>
inline void add_leaf(float* acc, const float* leaf, std::size_t fours, float weight) {
  const std::size_t m = kFours ? kFours : fours;
  for (std::size_t c = 0; c < 4 * m; c += 4) {
    if constexpr (kWeighted)
      *reinterpret_cast<Float4*>(acc + c) += weight * *reinterpret_cast<const Float4*>(leaf + c);
    else
      add4(acc + c, leaf + c);
  }
}

constexpr std::size_t kGroup = 16;   // rows whose leaf is searched together
constexpr std::size_t kFewRows = 4;  // up to here searching row by row is faster
// Bytes of a tree's leaf table from which its leaves are asked for beforehand: the processor
// foresees what is needed of small tables, and waits for each of the leaves that lie far apart.
constexpr std::size_t kLargeTable = 512;

void find_leaves(const ForestView& view, const Test* tests, std::size_t depth, const float* x,
                 std::uint32_t* index) {
  for (std::size_t level = 0; level < depth; ++level) {
    const float* value = x + static_cast<std::size_t>(tests[level].feature) * kBlockRows;
    const float threshold = tests[level].threshold;
    if (view.categorical[tests[level].feature]) {
      for (std::size_t r = 0; r < kGroup; ++r)
        index[r] = index[r] * 2 + static_cast<std::uint32_t>(value[r] == threshold);
    } else {
      for (std::size_t r = 0; r < kGroup; ++r)
        index[r] = index[r] * 2 + static_cast<std::uint32_t>(value[r] > threshold);
    }
  }
}

// One row of observations, feature by feature kBlockRows apart. Of 16 (64) tests, outcomes() says
// in bit 15 - k (63 - k) whether test k sends the row right.
#if defined(__AVX512F__)
template <bool kInRegisters>  // all features: there are at most 32
class Row {
 public:
  Row(const float* x, std::size_t n_features) : x_(x) {
    float values[32] = {};
    if (kInRegisters)
      for (std::size_t f = 0; f < n_features; ++f) values[f] = x[f * kBlockRows];
    low_ = _mm512_loadu_ps(values);
    high_ = _mm512_loadu_ps(values + 16);
  }
  std::uint64_t outcomes(const Test* tests) const {
    const __m512i feature_of =
        _mm512_setr_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i threshold_of = _mm512_or_si512(feature_of, _mm512_set1_epi32(1));
    const __m512i first = _mm512_loadu_si512(tests), second = _mm512_loadu_si512(tests + 8);
    const __m512i feature = _mm512_permutex2var_epi32(first, feature_of, second);
    const __m512i threshold = _mm512_permutex2var_epi32(first, threshold_of, second);
    return _mm512_cmp_ps_mask(values_of(feature), _mm512_castsi512_ps(threshold), _CMP_GT_OQ);
  }

 private:
  __m512 values_of(__m512i feature) const {
    if constexpr (kInRegisters) return _mm512_permutex2var_ps(low_, feature, high_);
    static_assert(kBlockRows == 64);
    return _mm512_i32gather_ps(_mm512_slli_epi32(feature, 6), x_, 4);
  }
  const float* x_;
  __m512 low_, high_;
};
#else
template <bool>
class Row {
 public:
  Row(const float* x, std::size_t) : x_(x) {}
  std::uint64_t outcomes(const Test* tests) const {
    std::uint64_t bits = 0;
    for (std::size_t k = 0; k < 16; ++k) {
      const float value = x_[static_cast<std::size_t>(tests[k].feature) * kBlockRows];
      bits = bits * 2 + static_cast<std::uint64_t>(value > tests[k].threshold);
    }
    return bits;
  }

 private:
  const float* x_;
};
#endif

template <bool kInRegisters>
inline std::uint64_t outcomes_of_64(const Row<kInRegisters>& row, const Test* tests) {
  return row.outcomes(tests) << 48 | row.outcomes(tests + 16) << 32 |
         row.outcomes(tests + 32) << 16 | row.outcomes(tests + 48);
}

// One row through numeric trees: the tests of kTogether trees at once, then their leaves one by
// one.
template <std::size_t kFours, bool kInRegisters>
void oblivious_row(const ForestView& view, const float* x, std::size_t begin, std::size_t end,
                   float* acc) {
  const Row<kInRegisters> row(x, view.n_features);
  constexpr std::size_t kTogether = 512;
  const std::size_t fours = (view.n_outputs + 3) / 4;
  std::uint64_t bits[kTogether * kMaxDepth / 64 + 1];  // from the last test's, the lowest, on
  Float4 sum[kFours ? kFours : 1];
  for (std::size_t c = 0; c < kFours; ++c) sum[c] = *reinterpret_cast<const Float4*>(acc + 4 * c);
  for (std::size_t t0 = begin; t0 < end; t0 += kTogether) {
    const std::size_t t1 = end - t0 < kTogether ? end : t0 + kTogether;
    const Test* first = view.tests + view.structure_begin[t0];
    const Test* last = view.tests + view.structure_begin[t1];
    std::size_t n_words = static_cast<std::size_t>(last - first + 63) / 64;
    std::size_t lowest = n_words * 64;
    bits[n_words] = 0;
    for (; last - first >= 64; first += 64) bits[--n_words] = outcomes_of_64(row, first);
    if (n_words) {
      Test rest[64] = {};
      for (std::size_t k = 0; first + k < last; ++k) rest[k] = first[k];
      bits[0] = outcomes_of_64(row, rest);
    }
    const float* leaves = view.leaves + view.leaf_begin[t0];
    for (std::size_t t = t0; t < t1; ++t) {
      const std::size_t depth = view.depth[t];
      lowest -= depth;
      const std::size_t word = lowest / 64, shift = lowest % 64;
      const std::uint64_t here = bits[word] >> shift | bits[word + 1] << 1 << (63 - shift);
      const float* leaf = leaves + (here & ((1u << depth) - 1)) * view.n_outputs;
      leaves += view.n_outputs << depth;
      if constexpr (kFours == 0)
        add_leaf<0, false>(acc, leaf, fours, 1.f);
      else
        add_leaf<kFours, false>(reinterpret_cast<float*>(sum), leaf, kFours, 1.f);
    }
  }
  for (std::size_t c = 0; c < kFours; ++c) *reinterpret_cast<Float4*>(acc + 4 * c) = sum[c];
}

// kAhead trees' leaves are asked for before the first is added.
template <std::size_t kFours, bool kWeighted, std::size_t kAhead>
void oblivious_block(const ForestView& view, const float* weights, const float* x, std::size_t rows,
                     std::size_t begin, std::size_t end, float* acc) {
  const std::size_t fours = (view.n_outputs + 3) / 4;
  const std::size_t width = 4 * (kFours ? kFours : fours);
  for (std::size_t t0 = begin; t0 < end; t0 += kAhead) {
    const std::size_t t1 = end - t0 < kAhead ? end : t0 + kAhead;
    for (std::size_t r0 = 0; r0 < rows; r0 += kGroup) {
      const std::size_t last = rows - r0 < kGroup ? rows : r0 + kGroup;
      std::uint32_t index[kAhead][kGroup] = {};
      for (std::size_t t = t0; t < t1; ++t) {
        std::uint32_t* found = index[t - t0];
        find_leaves(view, view.tests + view.structure_begin[t], view.depth[t], x + r0, found);
        if (kAhead == 1) continue;
        for (std::size_t r = r0; r < last; ++r)
          __builtin_prefetch(view.leaves + view.leaf_begin[t] + found[r - r0] * view.n_outputs);
      }
      for (std::size_t t = t0; t < t1; ++t) {
        const float* leaves = view.leaves + view.leaf_begin[t];
        const float weight = kWeighted ? weights[t] : 1.f;
        for (std::size_t r = r0; r < last; ++r)
          add_leaf<kFours, kWeighted>(
              acc + r * width, leaves + index[t - t0][r - r0] * view.n_outputs, fours, weight);
      }
    }
  }
}

template <std::size_t kFours, bool kWeighted>
void oblivious(const ForestView& view, const float* weights, const float* x, std::size_t rows,
               std::size_t begin, std::size_t end, float* acc) {
  if (!kWeighted && !view.any_categorical && rows <= kFewRows) {
    const std::size_t width = 4 * (kFours ? kFours : (view.n_outputs + 3) / 4);
    const auto one =
        view.n_features <= 32 ? oblivious_row<kFours, true> : oblivious_row<kFours, false>;
    for (std::size_t r = 0; r < rows; ++r) one(view, x + r, begin, end, acc + r * width);
    return;
  }
  const std::size_t n_floats = view.leaf_begin[end - 1] - view.leaf_begin[begin];
  if (n_floats * sizeof(float) > (end - begin) * kLargeTable)
    oblivious_block<kFours, kWeighted, 8>(view, weights, x, rows, begin, end, acc);
  else
    oblivious_block<kFours, kWeighted, 1>(view, weights, x, rows, begin, end, acc);
}

void predict_oblivious(const ForestView& view, const float* weights, const float* x,
                       std::size_t rows, std::size_t begin, std::size_t end, float* acc) {
  if (weights) return oblivious<0, true>(view, weights, x, rows, begin, end, acc);
  switch ((view.n_outputs + 3) / 4) {
    case 1:
      return oblivious<1, false>(view, weights, x, rows, begin, end, acc);
    case 2:
      return oblivious<2, false>(view, weights, x, rows, begin, end, acc);
    default:
      return oblivious<0, false>(view, weights, x, rows, begin, end, acc);
  }
}

inline bool goes_right(const ForestView& view, const Node& node, float value) {
  const bool equality = view.any_categorical && view.categorical[node.feature];
  return equality ? value == node.threshold : value > node.threshold;
}

// Each row walks by itself.
void walk(const ForestView& view, std::size_t t, const float* x, std::size_t rows,
          std::int32_t* leaf) {
  const Node* nodes = view.nodes + view.structure_begin[t];
  for (std::size_t r = 0; r < rows; ++r) {
    std::int32_t at = 0;
    for (std::size_t level = 0; level < view.depth[t]; ++level) {
      const Node node = nodes[at];
      const float value = x[static_cast<std::size_t>(node.feature) * kBlockRows + r];
      at = node.left + static_cast<std::int32_t>(goes_right(view, node, value));
    }
    leaf[r] = nodes[at].leaf;
  }
}

#if defined(__AVX512BW__)
constexpr std::size_t kMarkedDepth = 6;  // deeper trees have more nodes than a walk has steps

// All rows of the block at each node, parents first: one bit a row says whether it comes there.
void mark(const ForestView& view, std::size_t t, const float* x, std::size_t rows,
          std::int32_t* leaf) {
  const Node* nodes = view.nodes + view.structure_begin[t];
  const std::size_t n_nodes = view.structure_begin[t + 1] - view.structure_begin[t];
  std::uint64_t comes[2 << kMarkedDepth];
  comes[0] = ~std::uint64_t{0};
  __m512i leaves = _mm512_setzero_si512();  // a byte a row
  for (std::size_t i = 0; i < n_nodes; ++i) {
    const Node node = nodes[i];
    if (node.leaf >= 0) {
      leaves =
          _mm512_mask_mov_epi8(leaves, comes[i], _mm512_set1_epi8(static_cast<char>(node.leaf)));
      continue;
    }
    const bool equality = view.any_categorical && view.categorical[node.feature];
    const float* value = x + static_cast<std::size_t>(node.feature) * kBlockRows;
    const __m512 threshold = _mm512_set1_ps(node.threshold);
    std::uint64_t right = 0;
    for (std::size_t r = 0; r < rows; r += 16) {
      const __m512 v = _mm512_loadu_ps(value + r);
      const std::uint64_t here = equality ? _mm512_cmp_ps_mask(v, threshold, _CMP_EQ_OQ)
                                          : _mm512_cmp_ps_mask(v, threshold, _CMP_GT_OQ);
      right |= here << r;
    }
    comes[node.left] = comes[i] & ~right;
    comes[node.left + 1] = comes[i] & right;
  }
  alignas(64) std::uint8_t found[kBlockRows];
  _mm512_store_si512(found, leaves);
  for (std::size_t r = 0; r < rows; ++r) leaf[r] = found[r];
}
#endif

void find_leaves(const ForestView& view, std::size_t t, const float* x, std::size_t rows,
                 std::int32_t* leaf) {
#if defined(__AVX512BW__)
  if (rows > kFewRows && view.depth[t] <= kMarkedDepth) return mark(view, t, x, rows, leaf);
#endif
  walk(view, t, x, rows, leaf);
}

template <std::size_t kFours, bool kWeighted>
void greedy(const ForestView& view, const float* weights, const float* x, std::size_t rows,
            std::size_t begin, std::size_t end, float* acc) {
  const std::size_t fours = (view.n_outputs + 3) / 4;
  const std::size_t width = 4 * (kFours ? kFours : fours);
  for (std::size_t t = begin; t < end; ++t) {
    const float* leaves = view.leaves + view.leaf_begin[t];
    const float weight = kWeighted ? weights[t] : 1.f;
    std::int32_t leaf[kBlockRows];
    find_leaves(view, t, x, rows, leaf);
    for (std::size_t r = 0; r < rows; ++r)
      add_leaf<kFours, kWeighted>(acc + r * width,
                                  leaves + static_cast<std::size_t>(leaf[r]) * view.n_outputs,
                                  fours, weight);
  }
}

void predict_greedy(const ForestView& view, const float* weights, const float* x, std::size_t rows,
                    std::size_t begin, std::size_t end, float* acc) {
  if (weights) return greedy<0, true>(view, weights, x, rows, begin, end, acc);
  switch ((view.n_outputs + 3) / 4) {
    case 1:
      return greedy<1, false>(view, weights, x, rows, begin, end, acc);
    case 2:
      return greedy<2, false>(view, weights, x, rows, begin, end, acc);
    default:
      return greedy<0, false>(view, weights, x, rows, begin, end, acc);
  }
}

}  // namespace

RLSHARE_DEFINE_TABLE(PredictKernels, predict_kernels) = {predict_oblivious, predict_greedy};

}  // namespace rlshare
