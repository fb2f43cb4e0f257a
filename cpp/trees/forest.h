// The ensemble: F_c(s) = bias_c + sum_t leaf_t(s)_c, with the learning rates already in the leaves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <shared_mutex>
#include <vector>

#include "view.h"

namespace rlshare {

// What one split of a growing tree was worth: the score gained, and the rows it parted.
struct Gain {
  std::size_t feature;
  double gain, n_rows;
};

// One grown tree, on its way into a forest.
struct Tree {
  std::uint8_t depth = 0;
  std::vector<Test> tests;    // oblivious: one a level, the root's first
  std::vector<Node> nodes;    // greedy: the root first, children adjacent
  std::vector<float> leaves;  // [n_leaves, n_outputs]: what is added to F, -rate * mean gradient
  std::vector<float> rates;   // [n_outputs]: learning rates the leaves were scaled with
  std::vector<Gain> gains;    // of every split; not kept by the forest
};

// A mutex that lets its owner be copied: the copy has one of its own.
struct OwnMutex {
  OwnMutex() = default;
  OwnMutex(const OwnMutex&) {}
  OwnMutex& operator=(const OwnMutex&) { return *this; }
  std::shared_mutex mutex;
};

// add_trees may run while another thread appends or replaces leaves; nothing else may.
class Forest {
 public:
  Forest(Growth growth, std::size_t n_features, std::vector<float> bias,
         std::vector<std::uint8_t> categorical);

  Growth growth() const { return growth_; }
  std::size_t n_features() const { return categorical_.size(); }
  std::size_t n_outputs() const { return bias_.size(); }
  std::size_t n_trees() const { return depth_.size(); }
  std::size_t n_bytes() const;
  ForestView view() const;
  const std::vector<float>& bias() const { return bias_; }
  const std::vector<std::uint8_t>& categorical() const { return categorical_; }

  // Sums over all splits ever appended: gains, rows and numbers of splits [3, n_features].
  const std::vector<double>& importances() const { return importances_; }
  void set_importances(std::vector<double> importances);

  // The forest is unchanged where this throws std::bad_alloc.
  void append(const Tree& tree);
  // Puts other values in place of all leaves, [n_leaf_floats].
  void replace_leaves(const std::vector<float>& leaves);
  void truncate(std::size_t n_trees);  // drops the newest; their importances stay
  Tree tree(std::size_t t) const;

  // Makes kMissing kLowest in numeric tests: what -inf meant in files of version 2.
  void raise_lowest_thresholds();
  // Whether every categorical test is for one of its feature's n_categories[f] categories.
  bool categories_fit(const std::vector<std::size_t>& n_categories) const;

  void fill_bias(float* out, std::size_t n_rows) const;
  // Adds trees [begin, end) in ascending order to out [n_rows, n_outputs]. X: [n_rows, n_features];
  // weights: [n_trees] factors of the trees, or null for 1 each.
  void add_trees(const float* X, std::size_t n_rows, std::size_t begin, std::size_t end,
                 const float* weights, std::size_t n_threads, float* out) const;

 private:
  mutable OwnMutex storage_;
  static constexpr std::size_t kSlack = 4;  // kernels read leaf tables four floats at a time

  Growth growth_;
  std::vector<float> bias_;
  std::vector<std::uint8_t> categorical_;
  bool any_categorical_;
  std::vector<std::uint8_t> depth_;
  std::vector<std::uint64_t> structure_begin_ = {0};  // and behind the last tree the end
  std::vector<std::uint64_t> leaf_begin_ = {0};
  std::vector<Test> tests_;
  std::vector<Node> nodes_;
  std::vector<float> leaves_;
  std::vector<float> rates_;  // [n_trees, n_outputs]
  std::vector<double> importances_;
};

}  // namespace rlshare
