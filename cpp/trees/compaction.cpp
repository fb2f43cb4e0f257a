#include "compaction.h"

#include <algorithm>
#include <numeric>
#include <random>

namespace rlshare {
namespace {

// Chosen on forests of LunarLander: more passes or other rates did not lower the held-out error.
constexpr int kPasses = 3;
constexpr double kRate = 0.25;
constexpr double kRidge = 20.0;  // rows: keeps the leaves of few rows near what they were

class Backfit {
 public:
  Backfit(const Forest& forest, const float* X, std::size_t n_rows, std::size_t n_oldest,
          std::size_t n_kept)
      : n_rows_(n_rows),
        n_outputs_(forest.n_outputs()),
        width_(round_up(forest.n_outputs(), 4)),
        categorical_(forest.categorical()),
        columns_(n_rows * forest.n_features()),
        missing_(n_rows * width_, 0.f),
        leaf_(n_rows) {
    const std::size_t d = forest.n_features();
    for (std::size_t i = 0; i < n_rows; ++i)
      for (std::size_t f = 0; f < d; ++f) columns_[f * n_rows + i] = X[i * d + f];
    std::vector<float> sum(n_rows * n_outputs_, 0.f);
    forest.add_trees(X, n_rows, 0, n_oldest, nullptr, 1, sum.data());
    for (std::size_t i = 0; i < n_rows; ++i)
      std::copy_n(sum.data() + i * n_outputs_, n_outputs_, missing_.data() + i * width_);
    for (std::size_t k = 0; k < n_kept; ++k) {
      trees.push_back(forest.tree((2 * k + 1) * n_oldest / (2 * n_kept)));
      find_leaves(trees.back());
      subtract(trees.back().leaves);
    }
  }

  // Moves the mean of what is missing into the bias.
  void fit_bias(std::vector<float>& bias) {
    for (std::size_t c = 0; c < n_outputs_; ++c) {
      double sum = 0.0;
      for (std::size_t i = 0; i < n_rows_; ++i) sum += missing_[i * width_ + c];
      const float mean = static_cast<float>(sum / static_cast<double>(n_rows_));
      bias[c] += mean;
      for (std::size_t i = 0; i < n_rows_; ++i) missing_[i * width_ + c] -= mean;
    }
  }

  void fit(Tree& tree) {
    find_leaves(tree);
    const std::size_t n_leaves = tree.leaves.size() / n_outputs_;
    sums_.assign(n_leaves * width_, 0.f);
    counts_.assign(n_leaves, 0u);
    for (std::size_t i = 0; i < n_rows_; ++i) {
      ++counts_[leaf_[i]];
      add(sums_.data() + leaf_[i] * width_, missing_.data() + i * width_, 1.f);
    }
    change_.resize(tree.leaves.size());
    for (std::size_t l = 0; l < n_leaves; ++l)
      for (std::size_t c = 0; c < n_outputs_; ++c) {
        const double share = kRate / (counts_[l] + kRidge);
        change_[l * n_outputs_ + c] = static_cast<float>(share * sums_[l * width_ + c]);
        tree.leaves[l * n_outputs_ + c] += change_[l * n_outputs_ + c];
      }
    subtract(change_);
  }

  std::vector<Tree> trees;

 private:
  void find_leaves(const Tree& tree) {
    if (!tree.nodes.empty()) return find_greedy_leaves(tree);
    std::fill(leaf_.begin(), leaf_.end(), 0u);
    for (const Test& test : tree.tests) {
      const float* value = columns_.data() + static_cast<std::size_t>(test.feature) * n_rows_;
      const float threshold = test.threshold;
      if (categorical_[test.feature])
        for (std::size_t i = 0; i < n_rows_; ++i)
          leaf_[i] = leaf_[i] * 2 + static_cast<std::uint32_t>(value[i] == threshold);
      else
        for (std::size_t i = 0; i < n_rows_; ++i)
          leaf_[i] = leaf_[i] * 2 + static_cast<std::uint32_t>(value[i] > threshold);
    }
  }

  void find_greedy_leaves(const Tree& tree) {
    for (std::size_t i = 0; i < n_rows_; ++i) {
      const Node* node = tree.nodes.data();
      while (node->leaf < 0) {
        const float value = columns_[static_cast<std::size_t>(node->feature) * n_rows_ + i];
        const bool right =
            categorical_[node->feature] ? value == node->threshold : value > node->threshold;
        node = tree.nodes.data() + node->left + right;
      }
      leaf_[i] = static_cast<std::uint32_t>(node->leaf);
    }
  }

  void add(float* to, const float* from, float sign) const {
    for (std::size_t c = 0; c < width_; c += 4)
      for (std::size_t k = c; k < c + 4; ++k) to[k] += sign * from[k];
  }

  void subtract(const std::vector<float>& leaves) {
    sums_.assign(leaves.size() / n_outputs_ * width_, 0.f);
    for (std::size_t k = 0; k < leaves.size(); ++k)
      sums_[k / n_outputs_ * width_ + k % n_outputs_] = leaves[k];
    for (std::size_t i = 0; i < n_rows_; ++i)
      add(missing_.data() + i * width_, sums_.data() + leaf_[i] * width_, -1.f);
  }

  const std::size_t n_rows_, n_outputs_;
  const std::size_t width_;  // n_outputs padded to whole vectors
  const std::vector<std::uint8_t>& categorical_;
  std::vector<float> columns_;       // [n_features, n_rows]
  std::vector<float> missing_;       // [n_rows, width]: target minus the kept trees
  std::vector<std::uint32_t> leaf_;  // [n_rows], of the tree at hand
  std::vector<float> change_;        // [n_leaves, n_outputs]
  std::vector<float> sums_;          // [n_leaves, width]
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
    for (std::size_t k : order) backfit.fit(backfit.trees[k]);
  }
  Forest out(forest.growth(), forest.n_features(), std::move(bias), forest.categorical());
  for (const Tree& tree : backfit.trees) out.append(tree);
  for (std::size_t t = n_oldest; t < forest.n_trees(); ++t) out.append(forest.tree(t));
  out.set_importances(forest.importances());
  return out;
}

}  // namespace rlshare
