#include "grower.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "thread_pool.h"

namespace rlshare {
namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();
constexpr std::size_t kThreadsFrom =
    100000;  // (row, feature) pairs a level below which they cost more

struct Split {
  std::size_t feature = 0, candidate = 0;
  float score = kMinusInf;  // times the feature's weight

  bool found() const { return score > kMinusInf; }
  bool same_test(const Split& other) const {
    return feature == other.feature && candidate == other.candidate;
  }
};

// A node of the level being grown: rows [begin, end) of the grower's row order.
struct LevelNode {
  std::size_t begin, end;
  std::size_t id;           // greedy: index in the tree's nodes
  std::vector<Split> path;  // greedy: the tests above
};

class Grower {
 public:
  Grower(const Codes& codes, const Gradients& gradients, const GrowParams& params)
      : codes_(codes),
        gradients_(gradients),
        params_(params),
        channels_(gradients, params.score),
        rule_{params.score, params.l2, static_cast<float>(params.min_samples_leaf)},
        rows_(gradients.n_rows),
        scratch_(gradients.n_rows),
        first_candidate_(codes.features.size()) {
    std::iota(rows_.begin(), rows_.end(), 0u);
    std::size_t n = 0;
    for (std::size_t f = 0; f < codes.features.size(); ++f) {
      first_candidate_[f] = n;
      n += codes.features[f].candidates.size();
      if (params.feature_weights[f] > 0.f && !codes.features[f].candidates.empty())
        active_.push_back(f);
    }
    alive_.assign(n, 1);
    level_ = {{0, gradients.n_rows, 0, {}}};
  }

  Tree oblivious();
  Tree greedy();

 private:
  template <typename Visit>
  void score_level(const Visit& visit);
  Split best_of_level();
  std::vector<Split> best_of_nodes();
  float unsplit_score(const float* total) const;
  bool goes_right(const Split& split, std::uint32_t row) const;
  std::size_t partition(const LevelNode& node, const Split& split);
  void append_leaf(const LevelNode& node, Tree& tree) const;
  Test test(const Split& split) const {
    return {static_cast<std::int32_t>(split.feature),
            codes_.features[split.feature].candidates[split.candidate]};
  }

  const Codes& codes_;
  const Gradients& gradients_;
  const GrowParams& params_;
  const Channels channels_;
  const SplitRule rule_;
  std::vector<std::uint32_t> rows_, scratch_;  // rows in node order; ascending within a node
  std::vector<std::size_t> first_candidate_;   // of a feature, among all candidates
  std::vector<std::size_t> active_;            // features with candidates
  std::vector<std::uint8_t> alive_;            // candidates that split the root
  std::vector<LevelNode> level_;
  std::vector<float> totals_;  // [n_nodes, n_channels]
  bool at_root_ = true;
};

// Calls visit(feature, node, scores) for every active feature and node, features in parallel and a
// feature's nodes in order.
template <typename Visit>
void Grower::score_level(const Visit& visit) {
  totals_.resize(level_.size() * channels_.n_channels);
  std::size_t n_rows = 0;
  for (std::size_t k = 0; k < level_.size(); ++k) {
    const LevelNode& node = level_[k];
    n_rows += node.end - node.begin;
    channels_.sum(rows_.data() + node.begin, node.end - node.begin,
                  totals_.data() + k * channels_.n_channels);
  }
  const std::size_t n_threads = n_rows * active_.size() < kThreadsFrom ? 1 : params_.n_threads;
  parallel_for(active_.size(), n_threads, [&](std::size_t a) {
    static thread_local Splitter splitter;
    const std::size_t f = active_[a];
    const FeatureBins& bins = codes_.features[f];
    std::uint8_t* alive = alive_.data() + first_candidate_[f];
    for (std::size_t k = 0; k < level_.size(); ++k) {
      const LevelNode& node = level_[k];
      const std::size_t n = node.end - node.begin;
      if (n == 0) continue;  // every candidate scores 0 here
      const float* scores =
          splitter.score(bins, codes_.categorical[f], channels_, rows_.data() + node.begin, n,
                         totals_.data() + k * channels_.n_channels, rule_);
      if (at_root_)
        for (std::size_t j = 0; j < bins.candidates.size(); ++j)
          alive[j] = splitter.count(j) > 0.f && splitter.count(j) < static_cast<float>(n);
      visit(f, k, scores);
    }
  });
  at_root_ = false;
}

// Oblivious: the candidate with the largest sum of scores over the level's nodes.
Split Grower::best_of_level() {
  std::vector<float> sums(alive_.size(), 0.f);
  score_level([&](std::size_t f, std::size_t, const float* scores) {
    float* sum = sums.data() + first_candidate_[f];
    for (std::size_t j = 0; j < codes_.features[f].candidates.size(); ++j) sum[j] += scores[j];
  });
  Split best;
  for (std::size_t f : active_) {
    for (std::size_t j = 0; j < codes_.features[f].candidates.size(); ++j) {
      const std::size_t c = first_candidate_[f] + j;
      const float score = params_.feature_weights[f] * sums[c];
      if (alive_[c] && score > best.score) best = {f, j, score};
    }
  }
  if (best.found()) alive_[first_candidate_[best.feature] + best.candidate] = 0;
  return best;
}

// Greedy: each node's best candidate.
std::vector<Split> Grower::best_of_nodes() {
  std::vector<Split> per_feature(level_.size() * codes_.features.size());
  score_level([&](std::size_t f, std::size_t k, const float* scores) {
    const std::uint8_t* alive = alive_.data() + first_candidate_[f];
    Split best;
    for (std::size_t j = 0; j < codes_.features[f].candidates.size(); ++j) {
      const Split split = {f, j, params_.feature_weights[f] * scores[j]};
      if (!alive[j] || !(split.score > best.score)) continue;
      const auto& path = level_[k].path;
      const auto used = [&](const Split& above) { return above.same_test(split); };
      if (std::none_of(path.begin(), path.end(), used)) best = split;
    }
    per_feature[k * codes_.features.size() + f] = best;
  });
  std::vector<Split> best(level_.size());
  for (std::size_t k = 0; k < level_.size(); ++k)
    for (std::size_t f : active_) {
      const Split& split = per_feature[k * codes_.features.size() + f];
      if (split.score > best[k].score) best[k] = split;
    }
  return best;
}

float Grower::unsplit_score(const float* total) const {
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

bool Grower::goes_right(const Split& split, std::uint32_t row) const {
  const FeatureBins& bins = codes_.features[split.feature];
  const std::size_t code = bins.wide.empty() ? bins.narrow[row] : bins.wide[row];
  return codes_.categorical[split.feature] ? code == split.candidate : code > split.candidate;
}

// Left rows first, both sides in their order; returns where the right side begins.
std::size_t Grower::partition(const LevelNode& node, const Split& split) {
  std::size_t left = node.begin, right = 0;
  for (std::size_t i = node.begin; i < node.end; ++i) {
    const std::uint32_t row = rows_[i];
    if (goes_right(split, row))
      scratch_[right++] = row;
    else
      rows_[left++] = row;
  }
  std::copy_n(scratch_.begin(), right, rows_.begin() + left);
  return left;
}

// The (weighted) mean of the raw gradients, scaled by -rate; 0 for an empty leaf.
void Grower::append_leaf(const LevelNode& node, Tree& tree) const {
  for (std::size_t c = 0; c < gradients_.n_outputs; ++c) {
    double sum = 0.0, weight = 0.0;
    for (std::size_t i = node.begin; i < node.end; ++i) {
      const double w = gradients_.weight(rows_[i], c);
      sum += w * gradients_.values[rows_[i] * gradients_.n_outputs + c];
      weight += w;
    }
    const float mean = weight > 0.0 ? static_cast<float>(sum / (weight + params_.l2)) : 0.f;
    tree.leaves.push_back(-(params_.rates[c] * mean));
  }
}

Tree Grower::oblivious() {
  Tree tree;
  tree.rates = params_.rates;
  while (tree.depth < params_.max_depth) {
    const Split split = best_of_level();
    if (!split.found()) break;
    std::vector<LevelNode> next;
    next.reserve(2 * level_.size());
    for (const LevelNode& node : level_) {
      const std::size_t middle = partition(node, split);
      next.push_back({node.begin, middle, 0, {}});
      next.push_back({middle, node.end, 0, {}});
    }
    level_.swap(next);
    tree.tests.push_back(test(split));
    ++tree.depth;
  }
  tree.leaves.reserve(level_.size() * gradients_.n_outputs);
  for (const LevelNode& node : level_) append_leaf(node, tree);
  return tree;
}

Tree Grower::greedy() {
  Tree tree;
  tree.rates = params_.rates;
  const Node leaf = {0, std::numeric_limits<float>::infinity(), 0, -1};
  tree.nodes.push_back(leaf);
  std::vector<LevelNode> leaves;
  for (int depth = 0; !level_.empty(); ++depth) {
    if (depth == params_.max_depth) {
      leaves.insert(leaves.end(), level_.begin(), level_.end());
      break;
    }
    const std::vector<Split> best = best_of_nodes();
    std::vector<LevelNode> next;
    for (std::size_t k = 0; k < level_.size(); ++k) {
      LevelNode& node = level_[k];
      const double parent =
          depth == 0 || node.begin == node.end
              ? 0.0
              : channels_.unit * unsplit_score(totals_.data() + k * channels_.n_channels);
      if (!best[k].found() ||
          channels_.unit * best[k].score - parent < -1e-6 * std::max(1.0, parent)) {
        leaves.push_back(node);
        continue;
      }
      const std::size_t middle = partition(node, best[k]);
      const std::size_t left = tree.nodes.size();
      const Test t = test(best[k]);
      tree.nodes[node.id] = {t.feature, t.threshold, static_cast<std::int32_t>(left), -1};
      tree.nodes.insert(tree.nodes.end(), 2, leaf);
      node.path.push_back(best[k]);
      next.push_back({node.begin, middle, left, node.path});
      next.push_back({middle, node.end, left + 1, node.path});
      tree.depth = static_cast<std::uint8_t>(depth + 1);
    }
    level_.swap(next);
  }
  std::int32_t n_leaves = 0;
  for (const LevelNode& node : leaves) {
    tree.nodes[node.id].left = static_cast<std::int32_t>(node.id);
    tree.nodes[node.id].leaf = n_leaves++;
    append_leaf(node, tree);
  }
  return tree;
}

}  // namespace

Tree grow(const Codes& codes, const Gradients& gradients, const GrowParams& params) {
  Grower grower(codes, gradients, params);
  return params.growth == Growth::oblivious ? grower.oblivious() : grower.greedy();
}

}  // namespace rlshare
