#include "compaction.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "leaf_ids.h"

namespace rlshare {
namespace {

// Chosen on forests of LunarLander: more passes or other rates did not lower the held-out error.
constexpr int kPasses = 3;
constexpr double kRate = 0.25;
constexpr double kRidge = 20.0;  // rows: keeps the leaves of few rows near what they were

typedef float Four __attribute__((vector_size(16)));

// Fits the leaves of kept trees one at a time to what the sum of the kept ones misses on rows.
class Backfit {
 public:
  Backfit(const Forest& forest, const float* X, std::size_t n_rows, std::size_t n_oldest,
          std::size_t n_kept)
      : view_(forest.view()),
        n_rows_(n_rows),
        n_outputs_(view_.n_outputs),
        vectors_((n_outputs_ + 3) / 4),
        columns_(columns_of(X, n_rows, view_.n_features)),
        missing_(n_rows * vectors_),
        leaf_(n_rows) {
    std::vector<float> sum(n_rows * n_outputs_, 0.f);
    forest.add_trees(X, n_rows, 0, n_oldest, nullptr, 1, sum.data());
    put(sum, missing_);
    for (std::size_t k = 0; k < n_kept; ++k) {
      const std::size_t t = (2 * k + 1) * n_oldest / (2 * n_kept);
      kept.push_back(
          {t, {view_.leaves + view_.leaf_begin[t], view_.leaves + view_.leaf_begin[t + 1]}});
      find_leaves(view_, t, columns_.data(), n_rows_, leaf_.data());
      put(kept.back().leaves, per_leaf_);
      subtract();
    }
  }

  // Moves the mean of what is missing into the bias.
  void fit_bias(std::vector<float>& bias) {
    for (std::size_t c = 0; c < n_outputs_; ++c) {
      double sum = 0.0;
      for (std::size_t i = 0; i < n_rows_; ++i) sum += missing_[i * vectors_ + c / 4][c % 4];
      const float mean = static_cast<float>(sum / static_cast<double>(n_rows_));
      bias[c] += mean;
      for (std::size_t i = 0; i < n_rows_; ++i) missing_[i * vectors_ + c / 4][c % 4] -= mean;
    }
  }

  void fit(std::size_t k) {
    std::vector<float>& leaves = kept[k].leaves;
    find_leaves(view_, kept[k].tree, columns_.data(), n_rows_, leaf_.data());
    const std::size_t n_leaves = leaves.size() / n_outputs_;
    per_leaf_.assign(n_leaves * vectors_, Four{});
    counts_.assign(n_leaves, 0u);
    for (std::size_t i = 0; i < n_rows_; ++i) {
      ++counts_[leaf_[i]];
      for (std::size_t v = 0; v < vectors_; ++v)
        per_leaf_[leaf_[i] * vectors_ + v] += missing_[i * vectors_ + v];
    }
    for (std::size_t l = 0; l < n_leaves; ++l)
      for (std::size_t c = 0; c < n_outputs_; ++c) {
        Four& sums = per_leaf_[l * vectors_ + c / 4];
        sums[c % 4] = static_cast<float>(kRate * sums[c % 4] / (counts_[l] + kRidge));
        leaves[l * n_outputs_ + c] += sums[c % 4];
      }
    subtract();
  }

  struct Kept {
    std::size_t tree;           // its number in the forest
    std::vector<float> leaves;  // refitted
  };
  std::vector<Kept> kept;

 private:
  // rows: [n, n_outputs].
  void put(const std::vector<float>& rows, std::vector<Four>& to) const {
    to.assign(rows.size() / n_outputs_ * vectors_, Four{});
    for (std::size_t k = 0; k < rows.size(); ++k)
      to[k / n_outputs_ * vectors_ + k % n_outputs_ / 4][k % n_outputs_ % 4] = rows[k];
  }

  void subtract() {
    for (std::size_t i = 0; i < n_rows_; ++i)
      for (std::size_t v = 0; v < vectors_; ++v)
        missing_[i * vectors_ + v] -= per_leaf_[leaf_[i] * vectors_ + v];
  }

  const ForestView view_;
  const std::size_t n_rows_, n_outputs_;
  const std::size_t vectors_;        // that hold n_outputs floats
  std::vector<float> columns_;       // [n_features, n_rows]
  std::vector<Four> missing_;        // [n_rows, vectors]: the target minus the kept trees
  std::vector<Four> per_leaf_;       // [n_leaves, vectors]
  std::vector<std::uint16_t> leaf_;  // [n_rows], of the tree at hand
  std::vector<std::uint32_t> counts_;
};

}  // namespace

Forest compacted(const Forest& forest, const float* X, std::size_t n_rows, std::size_t n_oldest,
                 std::size_t n_kept) {
  Backfit backfit(forest, X, n_rows, n_oldest, n_kept);
  std::vector<float> bias = forest.bias();
  backfit.fit_bias(bias);
  std::vector<std::size_t> order(n_kept);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937_64 random;
  for (int pass = 0; pass < kPasses; ++pass) {
    for (std::size_t k = n_kept; k > 1; --k) std::swap(order[k - 1], order[random() % k]);
    for (std::size_t k : order) backfit.fit(k);
  }
  Forest out(forest.growth(), forest.n_features(), std::move(bias), forest.categorical());
  for (Backfit::Kept& kept : backfit.kept) {
    Tree tree = forest.tree(kept.tree);
    tree.leaves = std::move(kept.leaves);
    out.append(tree);
  }
  for (std::size_t t = n_oldest; t < forest.n_trees(); ++t) out.append(forest.tree(t));
  out.set_importances(forest.importances());
  return out;
}

}  // namespace rlshare
