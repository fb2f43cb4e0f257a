#include "refit.h"

#include <algorithm>

#include "../common/round_up.h"
#include "../common/thread_pool.h"
#include "fours.h"

namespace rlshare {
namespace {

constexpr std::size_t kThreadsFrom = 100000;  // (row, tree) pairs below which threads cost more
constexpr std::size_t kBlock = 512;           // rows whose sums stay in the first-level cache

// Rows side by side with what is summed over a leaf: weighted gradients, then one weight, or one an
// output; padded to fours.
struct Summands {
  Summands(const Gradients& g) : n_outputs(g.n_outputs) {
    n_weights = g.weight_kind == WeightKind::per_output ? n_outputs : 1;
    width = round_up(n_outputs + n_weights, 4);
    values.assign(g.n_rows * width, 0.f);
    for (std::size_t i = 0; i < g.n_rows; ++i) {
      float* to = values.data() + i * width;
      for (std::size_t c = 0; c < n_outputs; ++c)
        to[c] = g.weight(i, c) * g.values[i * n_outputs + c];
      for (std::size_t k = 0; k < n_weights; ++k) to[n_outputs + k] = g.weight(i, k);
    }
  }

  std::size_t n_outputs, n_weights, width;
  std::vector<float> values;  // [n_rows, width]
};

// Rows of four floats each that a kernel is compiled for; 0 for any number.
template <std::size_t kFours>
struct Width {
  explicit Width(std::size_t width) : fours(width / 4) {}
  std::size_t operator()() const { return kFours ? kFours : fours; }
  std::size_t fours;
};

// Calls kernel(Width<n>) with the number of fours in a row.
template <typename Kernel>
void with_width(std::size_t width, const Kernel& kernel) {
  switch (width / 4) {
    case 1:
      return kernel(Width<1>(width));
    case 2:
      return kernel(Width<2>(width));
    case 3:
      return kernel(Width<3>(width));
    default:
      return kernel(Width<0>(width));
  }
}

// sums: [kTogether] tables [n_leaves, width] of the trees of a group.
template <typename Width>
void sum_over_leaves(Width fours, const Summands& rows, const std::uint16_t* leaf,
                     const RowIndex& index, float* const* sums) {
  const std::size_t width = 4 * fours();
  for (std::size_t i = 0; i < index.n; ++i) {
    const float* from = rows.values.data() + i * width;
    const std::uint16_t* leaves = leaf + index[i] * kTogether;
    for (std::size_t k = 0; k < kTogether; ++k) {
      float* to = sums[k] + leaves[k] * width;
      for (std::size_t c = 0; c < width; c += 4) add4(to + c, from + c);
    }
  }
}

void move(const Summands& rows, const float* sums, std::size_t n_leaves, const float* step,
          float l2, float* leaves) {
  for (std::size_t l = 0; l < n_leaves; ++l) {
    const float* sum = sums + l * rows.width;
    for (std::size_t c = 0; c < rows.n_outputs; ++c) {
      const float weight = sum[rows.n_outputs + (rows.n_weights == 1 ? 0 : c)];
      if (weight > 0.f) leaves[l * rows.n_outputs + c] -= step[c] * (sum[c] / (weight + l2));
    }
  }
}

// Adds a group's leaves to rows [begin, end) of index. tables: its leaf tables [n_leaves, D]; to:
// the rows, padded to fours.
template <std::size_t kTrees, typename Width>
void add_leaves(Width fours, std::size_t n_trees, const std::uint16_t* leaf, const RowIndex& index,
                std::size_t begin, std::size_t end, const float* const* tables, std::size_t D,
                float* to) {
  if (kTrees) n_trees = kTrees;
  for (std::size_t i = begin; i < end; ++i, to += 4 * fours()) {
    const std::uint16_t* leaves = leaf + index[i] * kTogether;
    for (std::size_t c = 0; c < 4 * fours(); c += 4) {
      Float4 sum = *reinterpret_cast<const Float4*>(to + c);
      for (std::size_t k = 0; k < n_trees; ++k)
        sum += *reinterpret_cast<const Float4*>(tables[k] + leaves[k] * D + c);
      *reinterpret_cast<Float4*>(to + c) = sum;
    }
  }
}

}  // namespace

std::vector<float> refitted(const ForestView& view, const LeafIds& ids, const RowIndex& index,
                            const Gradients& gradients, const float* rates, float l2,
                            std::size_t n_threads) {
  const std::size_t D = view.n_outputs;
  std::vector<float> leaves(view.leaves, view.leaves + view.leaf_begin[view.n_trees]);
  std::vector<float> step(D);
  for (std::size_t c = 0; c < D; ++c) step[c] = rates[c] / static_cast<float>(view.n_trees);
  const Summands rows(gradients);
  if (index.n * view.n_trees < kThreadsFrom) n_threads = 1;
  parallel_for(ids.n_groups(), n_threads, [&](std::size_t group) {
    static thread_local std::vector<float> sums;
    const std::size_t first = group * kTogether, n_trees = ids.n_in(group);
    const std::size_t* begin = view.leaf_begin + first;
    // Trees beyond the last add their rows to the first one's place behind the end.
    sums.assign(((begin[n_trees] - begin[0]) / D + 1) * rows.width, 0.f);
    float* tables[kTogether];
    for (std::size_t k = 0; k < kTogether; ++k)
      tables[k] = sums.data() + (begin[std::min(k, n_trees)] - begin[0]) / D * rows.width;
    with_width(rows.width, [&](auto fours) {
      sum_over_leaves(fours, rows, ids.of_group(group), index, tables);
    });
    move(rows, sums.data(), (begin[n_trees] - begin[0]) / D, step.data(), l2,
         leaves.data() + begin[0]);
  });
  return leaves;
}

void sum_leaves(const ForestView& view, const LeafIds& ids, const RowIndex& index,
                std::size_t n_threads, float* out) {
  const std::size_t D = view.n_outputs, width = round_up(D, 4);
  const std::size_t n_blocks = (index.n + kBlock - 1) / kBlock;
  if (index.n * ids.n_trees < kThreadsFrom) n_threads = 1;
  parallel_for(n_blocks, n_threads, [&](std::size_t block) {
    const std::size_t begin = block * kBlock, end = std::min(begin + kBlock, index.n);
    std::vector<float> sums((end - begin) * width);
    for (std::size_t i = begin; i < end; ++i)
      std::copy_n(view.bias, D, sums.data() + (i - begin) * width);
    for (std::size_t group = 0; group < ids.n_groups(); ++group) {
      const float* tables[kTogether];
      const std::size_t n_trees = ids.n_in(group);
      for (std::size_t k = 0; k < n_trees; ++k)
        tables[k] = view.leaves + view.leaf_begin[group * kTogether + k];
      with_width(width, [&](auto fours) {
        const auto add = n_trees == kTogether ? &add_leaves<kTogether, decltype(fours)>
                                              : &add_leaves<0, decltype(fours)>;
        add(fours, n_trees, ids.of_group(group), index, begin, end, tables, D, sums.data());
      });
    }
    for (std::size_t i = begin; i < end; ++i)
      std::copy_n(sums.data() + (i - begin) * width, D, out + i * D);
  });
}

}  // namespace rlshare
