#include "draw.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace rlshare {
namespace {

constexpr int kTries = 1000;  // pairs of rows that are alike before a level is given up

class Drawer {
 public:
  Drawer(const std::vector<std::uint8_t>& categorical, const float* X, std::size_t n_rows,
         const RandomTrees& trees)
      : categorical_(categorical), X_(X), n_rows_(n_rows), up_to_(trees.shares) {
    std::partial_sum(up_to_.begin(), up_to_.end(), up_to_.begin());
    random_.seed(trees.seed);
  }

  bool draw(Test& test) {
    for (int attempt = 0; attempt < kTries; ++attempt) {
      const std::size_t f = feature();
      const float one = value(row(), f), other = value(row(), f);
      if (one == other) continue;
      const float threshold = !categorical_[f]  ? beside(one, other, f)
                              : one == kMissing ? other  // which nothing equals
                                                : one;
      test = {static_cast<std::int32_t>(f), threshold};
      return true;
    }
    return false;
  }

 private:
  // Uniform in [0, 1): the distributions of the standard library differ between platforms.
  double uniform() { return static_cast<double>(random_() >> 11) * 0x1p-53; }
  std::size_t row() { return static_cast<std::size_t>(random_() % n_rows_); }

  std::size_t feature() {
    const double at = uniform() * up_to_.back();
    const auto found = std::upper_bound(up_to_.begin(), up_to_.end(), at);
    return std::min<std::size_t>(found - up_to_.begin(), up_to_.size() - 1);
  }

  float value(std::size_t row, std::size_t f) const {
    const float x = X_[row * up_to_.size() + f];
    return std::isnan(x) ? kMissing : std::max(x, kLowest);
  }

  // The threshold next to one row's value, on the side of the other's: of values in order of size
  // every gap between neighbours is as likely as any.
  float beside(float one, float other, std::size_t f) const {
    float nearest = other;
    for (std::size_t i = 0; i < n_rows_; ++i) {
      const float x = value(i, f);
      if (one < other ? one < x && x < nearest : nearest < x && x < one) nearest = x;
    }
    const float low = std::min(one, nearest), high = std::max(one, nearest);
    const float middle = static_cast<float>((static_cast<double>(low) + high) / 2);
    return middle < high ? middle : low;
  }

  const std::vector<std::uint8_t>& categorical_;
  const float* X_;
  const std::size_t n_rows_;
  std::vector<double> up_to_;  // cumulative shares of the features
  std::mt19937_64 random_;
};

}  // namespace

void draw_trees(Forest& forest, const float* X, std::size_t n_rows, const RandomTrees& trees) {
  Drawer drawer(forest.categorical(), X, n_rows, trees);
  const std::size_t D = forest.n_outputs();
  for (std::size_t t = 0; t < trees.n_trees; ++t) {
    Tree tree;
    Test test;
    for (int level = 0; level < trees.depth && drawer.draw(test); ++level)
      tree.tests.push_back(test);
    tree.depth = static_cast<std::uint8_t>(tree.tests.size());
    tree.leaves.assign((std::size_t{1} << tree.depth) * D, 0.f);
    tree.rates.assign(D, 0.f);
    forest.append(tree);
  }
}

}  // namespace rlshare
