#include "forest.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "../common/round_up.h"
#include "../common/thread_pool.h"
#include "predict_kernels.h"

namespace rlshare {
namespace {

// Room for `extra` more, growing by a quarter: a forest is mostly its leaf tables, and doubling
// would waste up to half of the memory.
template <typename T>
void make_room(std::vector<T>& v, std::size_t extra) {
  const std::size_t need = v.size() + extra;
  if (v.capacity() < need) v.reserve(std::max(need, v.capacity() + v.capacity() / 4));
}

template <typename T>
void extend(std::vector<T>& v, const std::vector<T>& more) {
  v.insert(v.end(), more.begin(), more.end());
}

template <typename T>
std::size_t bytes(const std::vector<T>& v) {
  return v.capacity() * sizeof(T);
}

constexpr std::size_t kPassBytes = 512 << 10;  // leaf tables that stay in the second-level cache
constexpr std::size_t kThreadsFrom = 200000;   // (row, tree) pairs below which threads cost more

}  // namespace

Forest::Forest(Growth growth, std::size_t n_features, std::vector<float> bias,
               std::vector<std::uint8_t> categorical)
    : growth_(growth), bias_(std::move(bias)), categorical_(std::move(categorical)) {
  categorical_.resize(n_features, 0);
  any_categorical_ = std::count(categorical_.begin(), categorical_.end(), 0) !=
                     static_cast<std::ptrdiff_t>(n_features);
  leaves_.resize(kSlack, 0.f);
  importances_.assign(3 * n_features, 0.0);
}

std::size_t Forest::n_bytes() const {
  return sizeof(*this) + bytes(bias_) + bytes(categorical_) + bytes(depth_) +
         bytes(structure_begin_) + bytes(leaf_begin_) + bytes(tests_) + bytes(nodes_) +
         bytes(leaves_) + bytes(rates_) + bytes(importances_);
}

void Forest::append(const Tree& tree) {
  const std::unique_lock<std::shared_mutex> lock(storage_.mutex);
  make_room(depth_, 1);
  make_room(structure_begin_, 1);
  make_room(leaf_begin_, 1);
  make_room(tests_, tree.tests.size());
  make_room(nodes_, tree.nodes.size());
  make_room(leaves_, tree.leaves.size());
  make_room(rates_, tree.rates.size());
  // From here on nothing allocates.
  structure_begin_.push_back(structure_begin_.back() + tree.tests.size() + tree.nodes.size());
  leaf_begin_.push_back(leaf_begin_.back() + tree.leaves.size());
  depth_.push_back(tree.depth);
  extend(tests_, tree.tests);
  extend(nodes_, tree.nodes);
  leaves_.insert(leaves_.end() - kSlack, tree.leaves.begin(), tree.leaves.end());
  extend(rates_, tree.rates);
  const std::size_t d = n_features();
  for (const Gain& gain : tree.gains) {
    importances_[gain.feature] += gain.gain;
    importances_[d + gain.feature] += gain.n_rows;
    importances_[2 * d + gain.feature] += 1.0;
  }
}

void Forest::replace_leaves(const std::vector<float>& leaves) {
  const std::unique_lock<std::shared_mutex> lock(storage_.mutex);
  std::copy(leaves.begin(), leaves.end(), leaves_.begin());
}

void Forest::truncate(std::size_t n) {
  const std::unique_lock<std::shared_mutex> lock(storage_.mutex);
  if (n >= n_trees()) return;
  depth_.resize(n);
  structure_begin_.resize(n + 1);
  leaf_begin_.resize(n + 1);
  if (growth_ == Growth::oblivious)
    tests_.resize(structure_begin_.back());
  else
    nodes_.resize(structure_begin_.back());
  leaves_.resize(leaf_begin_.back() + kSlack);
  rates_.resize(n * n_outputs());
}

void Forest::set_importances(std::vector<double> importances) {
  importances_ = std::move(importances);
}

ForestView Forest::view() const {
  return {growth_,
          n_features(),
          n_outputs(),
          n_trees(),
          categorical_.data(),
          any_categorical_,
          bias_.data(),
          depth_.data(),
          structure_begin_.data(),
          leaf_begin_.data(),
          tests_.data(),
          nodes_.data(),
          leaves_.data(),
          rates_.data()};
}

Tree Forest::tree(std::size_t t) const {
  const auto slice = [](const auto& v, std::size_t begin, std::size_t end) {
    return std::decay_t<decltype(v)>(v.begin() + begin, v.begin() + end);
  };
  Tree tree;
  tree.depth = depth_[t];
  if (growth_ == Growth::oblivious)
    tree.tests = slice(tests_, structure_begin_[t], structure_begin_[t + 1]);
  else
    tree.nodes = slice(nodes_, structure_begin_[t], structure_begin_[t + 1]);
  tree.leaves = slice(leaves_, leaf_begin_[t], leaf_begin_[t + 1]);
  tree.rates = slice(rates_, t * n_outputs(), (t + 1) * n_outputs());
  return tree;
}

void Forest::raise_lowest_thresholds() {
  const auto raise = [this](auto& test) {
    if (test.threshold == kMissing && !categorical_[test.feature]) test.threshold = kLowest;
  };
  std::for_each(tests_.begin(), tests_.end(), raise);
  std::for_each(nodes_.begin(), nodes_.end(), raise);
}

bool Forest::categories_fit(const std::vector<std::size_t>& n_categories) const {
  const auto fits = [&](std::int32_t feature, float value) {
    return !categorical_[feature] ||
           (value >= 0.f && value < static_cast<float>(n_categories[feature]) &&
            value == std::floor(value));
  };
  return std::all_of(tests_.begin(), tests_.end(),
                     [&](const Test& t) { return fits(t.feature, t.threshold); }) &&
         std::all_of(nodes_.begin(), nodes_.end(),
                     [&](const Node& n) { return n.leaf >= 0 || fits(n.feature, n.threshold); });
}

void Forest::fill_bias(float* out, std::size_t n_rows) const {
  for (std::size_t i = 0; i < n_rows; ++i)
    std::copy(bias_.begin(), bias_.end(), out + i * n_outputs());
}

void Forest::add_trees(const float* X, std::size_t n_rows, std::size_t begin, std::size_t end,
                       const float* weights, std::size_t n_threads, float* out) const {
  const std::shared_lock<std::shared_mutex> lock(storage_.mutex);
  const std::size_t d = n_features(), D = n_outputs(), width = round_up(D, 4);
  if (n_rows == 0 || begin >= end) return;
  const std::size_t n_blocks = (n_rows + kBlockRows - 1) / kBlockRows;
  if (n_rows * (end - begin) < kThreadsFrom) n_threads = 1;
  const std::size_t n_parts = std::min(n_threads, n_blocks);
  const std::size_t tree_bytes = leaf_begin_.back() * sizeof(float) / n_trees();
  const std::size_t pass =
      std::max<std::size_t>(kPassBytes / std::max<std::size_t>(tree_bytes, 1), 16);
  const ForestView all = view();
  const auto add_block = growth_ == Growth::oblivious ? predict_kernels().predict_oblivious
                                                      : predict_kernels().predict_greedy;
  parallel_for(n_parts, n_threads, [&](std::size_t part) {
    const std::size_t first = n_blocks * part / n_parts, last = n_blocks * (part + 1) / n_parts;
    std::vector<float> x((last - first) * kBlockRows * d, 0.f);
    std::vector<float> acc((last - first) * kBlockRows * width, 0.f);
    const std::size_t row_begin = first * kBlockRows, row_end = std::min(last * kBlockRows, n_rows);
    for (std::size_t i = row_begin; i < row_end; ++i) {
      const std::size_t block = (i - row_begin) / kBlockRows, r = (i - row_begin) % kBlockRows;
      for (std::size_t f = 0; f < d; ++f)
        x[(block * d + f) * kBlockRows + r] = std::max(X[i * d + f], kLowest);
      std::copy_n(out + i * D, D, acc.data() + (i - row_begin) * width);
    }
    for (std::size_t t = begin; t < end; t += pass)
      for (std::size_t i = row_begin; i < row_end; i += kBlockRows)
        add_block(all, weights, x.data() + (i - row_begin) * d, std::min(kBlockRows, row_end - i),
                  t, std::min(t + pass, end), acc.data() + (i - row_begin) * width);
    for (std::size_t i = row_begin; i < row_end; ++i)
      std::copy_n(acc.data() + (i - row_begin) * width, D, out + i * D);
  });
}

}  // namespace rlshare
