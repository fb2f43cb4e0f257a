#include "grower.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "../../common/thread_pool.h"
#include "../splitter.h"
#include "level.h"

namespace rlshare {
namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();
constexpr std::size_t kThreadsFrom = 100000;  // (row, feature) pairs of a level that pay for them

class Grower {
 public:
  const Tree& grow(const Codes& codes, const Gradients& gradients, const GrowParams& params,
                   const TreeDraw& draw) {
    start(codes, gradients, params, draw);
    if (params.growth == Growth::oblivious)
      grow_oblivious();
    else
      grow_greedy();
    append_leaves();
    return tree_;
  }

 private:
  void start(const Codes& codes, const Gradients& gradients, const GrowParams& params,
             const TreeDraw& draw);
  void grow_oblivious();
  void grow_greedy();

  template <typename Visit>
  void score_level(const Visit& visit);
  Split best_of_level();
  const std::vector<Split>& best_of_nodes();
  float unsplit_score(std::size_t node) const;
  bool used_above(std::size_t node_id, const Split& split) const;
  bool goes_right(std::size_t feature, std::size_t candidate, std::uint32_t row) const;
  std::size_t partition(const LevelNode& node, const Split& split);
  void divide(std::size_t k, const Split& split, std::size_t left_id);
  void next_level();
  void end(std::size_t k);
  void append_leaves();
  void record_gain(const Split& split, double parent, std::size_t n_rows);

  Test test(const Split& split) const {
    return {static_cast<std::int32_t>(split.feature),
            codes_->features[split.feature].candidates[split.candidate]};
  }
  std::size_t n_candidates(std::size_t f) const { return codes_->features[f].candidates.size(); }

  // Of one tree.
  const Codes* codes_ = nullptr;
  const Gradients* gradients_ = nullptr;
  const GrowParams* params_ = nullptr;
  const TreeDraw* draw_ = nullptr;
  SplitRule rule_{};
  bool at_root_ = true;
  Tree tree_;

  // Storage that is kept from tree to tree.
  Channels channels_;
  std::vector<std::uint32_t> rows_, scratch_;  // rows in node order; ascending within a node
  std::vector<std::size_t> first_candidate_;   // of a feature, among all candidates
  std::vector<std::size_t> active_;            // features with candidates
  std::vector<std::uint8_t> alive_;            // candidates that split the root
  std::vector<LevelNode> level_, next_, leaves_;
  std::vector<float> totals_;              // [n_nodes, n_channels]
  std::vector<float> unsplit_;             // [n_nodes]: scores
  std::vector<float> sums_;                // oblivious: a candidate's score over the level
  std::vector<Split> per_feature_, best_;  // greedy: [n_nodes, n_features], [n_nodes]
  std::vector<std::size_t> parent_;        // greedy: of a node of the tree
  std::vector<Split> split_of_;            // greedy: of a node of the tree
  MonotonicBounds monotonic_;
};

void Grower::start(const Codes& codes, const Gradients& gradients, const GrowParams& params,
                   const TreeDraw& draw) {
  codes_ = &codes;
  gradients_ = &gradients;
  params_ = &params;
  draw_ = &draw;
  rule_ = {params.score, params.l2, static_cast<float>(params.min_samples_leaf)};
  at_root_ = true;
  channels_.fill(gradients, params.score);
  rows_.resize(gradients.n_rows);
  scratch_.resize(gradients.n_rows);
  std::iota(rows_.begin(), rows_.end(), 0u);
  first_candidate_.resize(codes.features.size());
  active_.clear();
  std::size_t n = 0;
  for (std::size_t f = 0; f < codes.features.size(); ++f) {
    first_candidate_[f] = n;
    n += n_candidates(f);
    if (draw.feature_weights[f] > 0.f && n_candidates(f) > 0) active_.push_back(f);
  }
  alive_.assign(n, 1);
  level_.assign(1, {0, gradients.n_rows, 0});
  next_.clear();
  leaves_.clear();
  monotonic_.start(params.monotonic, codes, gradients, rows_.data(), params.l2);
  tree_.depth = 0;
  tree_.tests.clear();
  tree_.nodes.clear();
  tree_.leaves.clear();
  tree_.gains.clear();
  tree_.rates.assign(draw.rates, draw.rates + gradients.n_outputs);
}

// Calls visit(feature, node, scores) for every active feature and node, features in parallel and a
// feature's nodes in order.
template <typename Visit>
void Grower::score_level(const Visit& visit) {
  totals_.resize(level_.size() * channels_.n_channels);
  unsplit_.resize(level_.size());
  std::size_t n_rows = 0;
  for (std::size_t k = 0; k < level_.size(); ++k) {
    const LevelNode& node = level_[k];
    n_rows += node.n_rows();
    channels_.sum(rows_.data() + node.begin, node.n_rows(),
                  totals_.data() + k * channels_.n_channels);
    unsplit_[k] = node.n_rows() ? unsplit_score(k) : 0.f;
  }
  const std::size_t n_threads = n_rows * active_.size() < kThreadsFrom ? 1 : draw_->n_threads;
  parallel_for(active_.size(), n_threads, [&](std::size_t a) {
    static thread_local Splitter splitter;
    const std::size_t f = active_[a];
    const FeatureBins& bins = codes_->features[f];
    std::uint8_t* alive = alive_.data() + first_candidate_[f];
    for (std::size_t k = 0; k < level_.size(); ++k) {
      const LevelNode& node = level_[k];
      const std::size_t n = node.n_rows();
      if (n == 0) continue;  // every candidate scores 0 here
      const float* scores =
          splitter.score(bins, codes_->categorical[f], channels_, rows_.data() + node.begin, n,
                         totals_.data() + k * channels_.n_channels, rule_);
      if (at_root_)
        for (std::size_t j = 0; j < bins.candidates.size(); ++j)
          alive[j] = splitter.count(j) > 0.f && splitter.count(j) < static_cast<float>(n);
      visit(f, k, scores);
    }
  });
  at_root_ = false;
}

// Oblivious: the candidate with the largest sum of scores over the level's nodes. A node whose two
// sides would lie the wrong way round counts as not split: both will have the same mean.
Split Grower::best_of_level() {
  sums_.assign(alive_.size(), 0.f);
  score_level([&](std::size_t f, std::size_t k, const float* scores) {
    float* sum = sums_.data() + first_candidate_[f];
    const std::size_t n = n_candidates(f);
    for (std::size_t j = 0; j < n; ++j) sum[j] += scores[j];
    if (monotonic_.empty()) return;
    const std::vector<std::uint8_t>& ordered = monotonic_.ordered(f, k, level_[k]);
    for (std::size_t j = 0; j < ordered.size(); ++j)
      if (!ordered[j] && scores[j] > kMinusInf) sum[j] += unsplit_[k] - scores[j];
  });
  Split best;
  for (std::size_t f : active_) {
    for (std::size_t j = 0; j < n_candidates(f); ++j) {
      const std::size_t c = first_candidate_[f] + j;
      const float score = draw_->feature_weights[f] * sums_[c];
      if (alive_[c] && score > best.score) best = {f, j, score, sums_[c]};
    }
  }
  if (best.found()) alive_[first_candidate_[best.feature] + best.candidate] = 0;
  return best;
}

// Greedy: each node's best candidate.
const std::vector<Split>& Grower::best_of_nodes() {
  static const std::vector<std::uint8_t> none;
  const std::size_t d = codes_->features.size();
  per_feature_.assign(level_.size() * d, {});
  score_level([&](std::size_t f, std::size_t k, const float* scores) {
    const std::vector<std::uint8_t>& ordered =
        monotonic_.empty() ? none : monotonic_.ordered(f, k, level_[k]);
    const std::uint8_t* alive = alive_.data() + first_candidate_[f];
    Split best;
    for (std::size_t j = 0; j < n_candidates(f); ++j) {
      const Split split = {f, j, draw_->feature_weights[f] * scores[j], scores[j]};
      if (!alive[j] || !(split.score > best.score)) continue;
      if (!ordered.empty() && !ordered[j]) continue;
      if (!used_above(level_[k].id, split)) best = split;
    }
    per_feature_[k * d + f] = best;
  });
  best_.assign(level_.size(), {});
  for (std::size_t k = 0; k < level_.size(); ++k)
    for (std::size_t f : active_) {
      const Split& split = per_feature_[k * d + f];
      if (split.score > best_[k].score) best_[k] = split;
    }
  return best_;
}

float Grower::unsplit_score(std::size_t node) const {
  const float* total = totals_.data() + node * channels_.n_channels;
  const std::size_t D = channels_.n_outputs;
  const float n = total[D];
  float sum = 0.f;
  for (std::size_t c = 0; c < D; ++c) {
    if (channels_.weights == WeightKind::none) {
      sum += total[c] * total[c];
    } else {
      const float w = total[D + 1 + (channels_.weights == WeightKind::per_output ? c : 0)];
      const float mean = w > 0.f ? total[c] / (w + rule_.l2) : 0.f;
      sum += mean * mean;
    }
  }
  const float score =
      channels_.weights == WeightKind::none ? sum / (n + rule_.l2) : sum * (n + rule_.l2);
  return rule_.score == Score::cosine ? std::sqrt(score) : score;
}

bool Grower::used_above(std::size_t node_id, const Split& split) const {
  while (node_id != 0) {
    node_id = parent_[node_id];
    if (split_of_[node_id].same_test(split)) return true;
  }
  return false;
}

bool Grower::goes_right(std::size_t feature, std::size_t candidate, std::uint32_t row) const {
  const FeatureBins& bins = codes_->features[feature];
  const std::size_t code = bins.wide.empty() ? bins.narrow[row] : bins.wide[row];
  return codes_->categorical[feature] ? code == candidate : code > candidate;
}

// Left rows first, both sides in their order; returns where the right side begins.
std::size_t Grower::partition(const LevelNode& node, const Split& split) {
  std::size_t left = node.begin, right = 0;
  for (std::size_t i = node.begin; i < node.end; ++i) {
    const std::uint32_t row = rows_[i];
    if (goes_right(split.feature, split.candidate, row))
      scratch_[right++] = row;
    else
      rows_[left++] = row;
  }
  std::copy_n(scratch_.begin(), right, rows_.begin() + left);
  return left;
}

// Parts node k of the level; its children are the next two of the level below.
void Grower::divide(std::size_t k, const Split& split, std::size_t left_id) {
  const LevelNode& node = level_[k];
  const std::size_t middle = partition(node, split);
  const LevelNode left = {node.begin, middle, left_id}, right = {middle, node.end, left_id + 1};
  if (!monotonic_.empty()) monotonic_.split(k, split, left, right);
  next_.push_back(left);
  next_.push_back(right);
}

void Grower::next_level() {
  level_.swap(next_);
  next_.clear();
  if (!monotonic_.empty()) monotonic_.next_level();
}

// Node k of the level is the next leaf.
void Grower::end(std::size_t k) {
  leaves_.push_back(level_[k]);
  if (!monotonic_.empty()) monotonic_.end(k);
}

// The means of the raw gradients, within the bounds of monotonic constraints, scaled by -rate; 0
// for an empty leaf.
void Grower::append_leaves() {
  for (std::size_t k = 0; k < leaves_.size(); ++k)
    for (std::size_t c = 0; c < gradients_->n_outputs; ++c) {
      double mean = sum(*gradients_, rows_.data(), leaves_[k], c).mean(params_->l2);
      if (!monotonic_.empty()) mean = monotonic_.clamp(k, c, mean);
      tree_.leaves.push_back(-(draw_->rates[c] * static_cast<float>(mean)));
    }
  if (!monotonic_.empty()) monotonic_.fill_empty(tree_, leaves_);
}

void Grower::record_gain(const Split& split, double parent, std::size_t n_rows) {
  const double gain = channels_.unit * split.plain - parent;
  tree_.gains.push_back({split.feature, std::max(gain, 0.0), static_cast<double>(n_rows)});
}

void Grower::grow_oblivious() {
  while (tree_.depth < params_->max_depth) {
    const Split split = best_of_level();
    if (!split.found()) break;
    record_gain(split, channels_.unit * std::accumulate(unsplit_.begin(), unsplit_.end(), 0.0),
                gradients_->n_rows);
    for (std::size_t k = 0; k < level_.size(); ++k) divide(k, split, 0);
    next_level();
    tree_.tests.push_back(test(split));
    ++tree_.depth;
  }
  for (std::size_t k = 0; k < level_.size(); ++k) end(k);
}

void Grower::grow_greedy() {
  const auto add_leaf = [this] {
    const std::int32_t id = static_cast<std::int32_t>(tree_.nodes.size());
    tree_.nodes.push_back({0, std::numeric_limits<float>::infinity(), id, -1});
  };
  add_leaf();
  parent_.assign(1, 0);
  split_of_.assign(1, {});
  for (int depth = 0; depth < params_->max_depth && !level_.empty(); ++depth) {
    const std::vector<Split>& best = best_of_nodes();
    for (std::size_t k = 0; k < level_.size(); ++k) {
      const LevelNode node = level_[k];
      const double unsplit = channels_.unit * unsplit_[k];
      const double parent = depth == 0 ? 0.0 : unsplit;  // the root is always split
      if (!best[k].found() ||
          channels_.unit * best[k].score - parent < -1e-6 * std::max(1.0, parent)) {
        end(k);
        continue;
      }
      record_gain(best[k], unsplit, node.n_rows());
      const std::size_t left = tree_.nodes.size();
      const Test t = test(best[k]);
      tree_.nodes[node.id] = {t.feature, t.threshold, static_cast<std::int32_t>(left), -1};
      add_leaf();
      add_leaf();
      split_of_[node.id] = best[k];
      split_of_.insert(split_of_.end(), 2, {});
      parent_.insert(parent_.end(), 2, node.id);
      divide(k, best[k], left);
      tree_.depth = static_cast<std::uint8_t>(depth + 1);
    }
    next_level();
  }
  for (std::size_t k = 0; k < level_.size(); ++k) end(k);
  for (std::size_t k = 0; k < leaves_.size(); ++k)
    tree_.nodes[leaves_[k].id].leaf = static_cast<std::int32_t>(k);
}

}  // namespace

const Tree& grow(const Codes& codes, const Gradients& gradients, const GrowParams& params,
                 const TreeDraw& draw) {
  static thread_local Grower grower;
  return grower.grow(codes, gradients, params, draw);
}

}  // namespace rlshare
