#include "grower.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "../common/thread_pool.h"

namespace rlshare {
namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();
constexpr std::size_t kThreadsFrom =
    100000;  // (row, feature) pairs a level below which they cost more

struct Split {
  std::size_t feature = 0, candidate = 0;
  float score = kMinusInf;  // times the feature's weight
  float plain = 0.f;        // without it

  bool found() const { return score > kMinusInf; }
  bool same_test(const Split& other) const {
    return feature == other.feature && candidate == other.candidate;
  }
};

// A node of the level being grown: rows [begin, end) of the grower's row order.
struct LevelNode {
  std::size_t begin, end;
  std::size_t id;  // greedy: index in the tree's nodes

  std::size_t n_rows() const { return end - begin; }
};

// What the mean gradient of a node may be, as monotonic constraints on the splits above demand.
struct Bounds {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();

  double clamp(double mean) const { return std::min(std::max(mean, low), high); }
};

struct Sum {
  double gradient = 0.0, weight = 0.0;

  void add(double g, double w) {
    gradient += w * g;
    weight += w;
  }
  double mean(double l2) const { return weight > 0.0 ? gradient / (weight + l2) : 0.0; }
};

class Grower {
 public:
  const Tree& grow(const Codes& codes, const Gradients& gradients, const GrowParams& params) {
    start(codes, gradients, params);
    if (params.growth == Growth::oblivious)
      grow_oblivious();
    else
      grow_greedy();
    return tree_;
  }

 private:
  void start(const Codes& codes, const Gradients& gradients, const GrowParams& params);
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
  void append_leaf(std::size_t node, const LevelNode& at, const std::vector<Bounds>& bounds);
  void record_gain(const Split& split, double parent, std::size_t n_rows);

  // Monotonic constraints. Bounds are kept per node and constraint, constraint by constraint.
  Sum sum(const LevelNode& node, std::size_t output) const;
  const std::vector<std::uint8_t>& find_ordered(std::size_t feature, std::size_t node) const;
  void bound_children(std::size_t node, const Split& split, const LevelNode& left,
                      const LevelNode& right);

  template <typename Others>
  void fill(const Monotonic& constraint, bool on_the_right, std::size_t begin, std::size_t end,
            const Others& visit_others);
  void fill_empty_leaves();
  void fill_empty_greedy_leaves();

  Test test(const Split& split) const {
    return {static_cast<std::int32_t>(split.feature),
            codes_->features[split.feature].candidates[split.candidate]};
  }
  std::size_t n_candidates(std::size_t f) const { return codes_->features[f].candidates.size(); }
  std::size_t n_constraints() const { return params_->monotonic.size(); }

  // Of one tree.
  const Codes* codes_ = nullptr;
  const Gradients* gradients_ = nullptr;
  const GrowParams* params_ = nullptr;
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
  std::vector<Bounds> bounds_, next_bounds_, leaf_bounds_;  // [n_nodes, n_constraints]
};

void Grower::start(const Codes& codes, const Gradients& gradients, const GrowParams& params) {
  codes_ = &codes;
  gradients_ = &gradients;
  params_ = &params;
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
    if (params.feature_weights[f] > 0.f && n_candidates(f) > 0) active_.push_back(f);
  }
  alive_.assign(n, 1);
  level_.assign(1, {0, gradients.n_rows, 0});
  bounds_.assign(n_constraints(), {});
  tree_.depth = 0;
  tree_.tests.clear();
  tree_.nodes.clear();
  tree_.leaves.clear();
  tree_.gains.clear();
  tree_.rates = params.rates;
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
  const std::size_t n_threads = n_rows * active_.size() < kThreadsFrom ? 1 : params_->n_threads;
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
    const std::vector<std::uint8_t>& ordered = find_ordered(f, k);
    for (std::size_t j = 0; j < ordered.size(); ++j)
      if (!ordered[j] && scores[j] > kMinusInf) sum[j] += unsplit_[k] - scores[j];
  });
  Split best;
  for (std::size_t f : active_) {
    for (std::size_t j = 0; j < n_candidates(f); ++j) {
      const std::size_t c = first_candidate_[f] + j;
      const float score = params_->feature_weights[f] * sums_[c];
      if (alive_[c] && score > best.score) best = {f, j, score, sums_[c]};
    }
  }
  if (best.found()) alive_[first_candidate_[best.feature] + best.candidate] = 0;
  return best;
}

// Greedy: each node's best candidate.
const std::vector<Split>& Grower::best_of_nodes() {
  const std::size_t d = codes_->features.size();
  per_feature_.assign(level_.size() * d, {});
  score_level([&](std::size_t f, std::size_t k, const float* scores) {
    const std::vector<std::uint8_t>& ordered = find_ordered(f, k);
    const std::uint8_t* alive = alive_.data() + first_candidate_[f];
    Split best;
    for (std::size_t j = 0; j < n_candidates(f); ++j) {
      const Split split = {f, j, params_->feature_weights[f] * scores[j], scores[j]};
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

// The (weighted) sums of the raw gradients of an output in a node.
Sum Grower::sum(const LevelNode& node, std::size_t output) const {
  Sum sum;
  for (std::size_t i = node.begin; i < node.end; ++i)
    sum.add(gradients_->values[rows_[i] * gradients_->n_outputs + output],
            gradients_->weight(rows_[i], output));
  return sum;
}

// The mean of the raw gradients within the node's bounds, scaled by -rate; 0 for an empty leaf.
void Grower::append_leaf(std::size_t node, const LevelNode& at, const std::vector<Bounds>& bounds) {
  for (std::size_t c = 0; c < gradients_->n_outputs; ++c) {
    double mean = sum(at, c).mean(params_->l2);
    for (std::size_t m = 0; m < n_constraints(); ++m)
      if (params_->monotonic[m].output == c) mean = bounds[node * n_constraints() + m].clamp(mean);
    tree_.leaves.push_back(-(params_->rates[c] * static_cast<float>(mean)));
  }
}

void Grower::record_gain(const Split& split, double parent, std::size_t n_rows) {
  const double gain = channels_.unit * split.plain - parent;
  tree_.gains.push_back({split.feature, std::max(gain, 0.0), static_cast<double>(n_rows)});
}

// ordered[j]: whether candidate j leaves the node's two sides in the order that every constraint on
// the feature demands; empty where there is none. Gradients point the other way than F.
const std::vector<std::uint8_t>& Grower::find_ordered(std::size_t feature, std::size_t node) const {
  static const std::vector<std::uint8_t> none;
  if (n_constraints() == 0) return none;
  static thread_local std::vector<std::uint8_t> ordered;
  static thread_local std::vector<Sum> codes;
  ordered.clear();
  for (std::size_t m = 0; m < n_constraints(); ++m) {
    const Monotonic& constraint = params_->monotonic[m];
    if (constraint.feature != feature) continue;
    const FeatureBins& bins = codes_->features[feature];
    const Bounds& bounds = bounds_[node * n_constraints() + m];
    const LevelNode& at = level_[node];
    const std::size_t n = bins.candidates.size();
    ordered.resize(n, 1);
    codes.assign(n + 1, {});
    for (std::size_t i = at.begin; i < at.end; ++i)
      codes[bins.narrow[rows_[i]]].add(
          gradients_->values[rows_[i] * gradients_->n_outputs + constraint.output],
          gradients_->weight(rows_[i], constraint.output));
    Sum left, all = sum(at, constraint.output);
    for (std::size_t j = 0; j < n; ++j) {
      left.gradient += codes[j].gradient;
      left.weight += codes[j].weight;
      const Sum right = {all.gradient - left.gradient, all.weight - left.weight};
      if (!(left.weight > 0.0 && right.weight > 0.0)) continue;
      const double difference =
          bounds.clamp(left.mean(params_->l2)) - bounds.clamp(right.mean(params_->l2));
      if (constraint.sign * difference < 0.0) ordered[j] = 0;
    }
  }
  return ordered;
}

// Appends the bounds of a node's children to next_bounds_. On a constrained feature a value between
// their means parts them, and with them all leaves below. Where one side is empty it would bind the
// other for nothing: fill_empty_leaves() sees to it.
void Grower::bound_children(std::size_t node, const Split& split, const LevelNode& left,
                            const LevelNode& right) {
  const std::size_t at = next_bounds_.size(), n = n_constraints();
  for (int child = 0; child < 2; ++child)
    for (std::size_t m = 0; m < n; ++m) next_bounds_.push_back(bounds_[node * n + m]);
  for (std::size_t k = 0; k < n; ++k) {
    if (params_->monotonic[k].feature != split.feature) continue;
    const std::size_t output = params_->monotonic[k].output;
    const int sign = params_->monotonic[k].sign;
    const Bounds& own = bounds_[node * n + k];
    const Sum l = sum(left, output), r = sum(right, output);
    const Sum both = {l.gradient + r.gradient, l.weight + r.weight};
    if (left.n_rows() == 0 || right.n_rows() == 0) continue;
    const double mean_l = own.clamp(l.mean(params_->l2)), mean_r = own.clamp(r.mean(params_->l2));
    const bool parted = l.weight > 0.0 && r.weight > 0.0 && sign * (mean_l - mean_r) >= 0.0;
    const double middle =
        own.clamp(parted ? mean_l + (mean_r - mean_l) / 2 : both.mean(params_->l2));
    // Every constraint on this output bounds the same leaves.
    for (std::size_t m = 0; m < n; ++m) {
      if (params_->monotonic[m].output != output) continue;
      Bounds& low_side = next_bounds_[at + (sign > 0 ? n : 0) + m];
      Bounds& high_side = next_bounds_[at + (sign > 0 ? 0 : n) + m];
      low_side.high = std::min(low_side.high, middle);
      high_side.low = std::max(high_side.low, middle);
    }
  }
}

// Leaves [begin, end) without rows lie right or left of others in order of a constrained feature:
// they are moved to where the others allow them to be. `visit_others` calls its argument with each.
template <typename Others>
void Grower::fill(const Monotonic& constraint, bool on_the_right, std::size_t begin,
                  std::size_t end, const Others& visit_others) {
  const std::size_t D = gradients_->n_outputs;
  const float sign = static_cast<float>(on_the_right ? constraint.sign : -constraint.sign);
  float largest = kMinusInf;
  visit_others([&](std::size_t leaf) {
    largest = std::max(largest, sign * tree_.leaves[leaf * D + constraint.output]);
  });
  for (std::size_t leaf = begin; leaf < end; ++leaf) {
    float& value = tree_.leaves[leaf * D + constraint.output];
    value = sign * std::max(sign * value, largest);
  }
}

// From the lowest nodes up, so that the leaves on the other side have their values.
void Grower::fill_empty_leaves() {
  for (int level = tree_.depth - 1; level >= 0 && n_constraints() > 0; --level) {
    const std::size_t half = std::size_t{1} << (tree_.depth - 1 - level);
    for (std::size_t begin = 0; begin < level_.size(); begin += 2 * half) {
      const std::size_t middle = begin + half, end = middle + half;
      const bool left_empty = level_[begin].begin == level_[middle - 1].end;
      const bool right_empty = level_[middle].begin == level_[end - 1].end;
      if (left_empty == right_empty) continue;
      for (const Monotonic& constraint : params_->monotonic) {
        if (constraint.feature != static_cast<std::size_t>(tree_.tests[level].feature)) continue;
        fill(constraint, right_empty, right_empty ? middle : begin, right_empty ? end : middle,
             [&](const auto& visit) {
               for (std::size_t leaf = right_empty ? begin : middle;
                    leaf < (right_empty ? middle : end); ++leaf)
                 visit(leaf);
             });
      }
    }
  }
}

// Likewise for a greedy tree, whose nodes without rows are leaves.
void Grower::fill_empty_greedy_leaves() {
  const auto is_empty = [&](std::int32_t node) {
    const std::int32_t leaf = tree_.nodes[node].leaf;
    return leaf >= 0 && leaves_[leaf].n_rows() == 0;
  };
  for (std::size_t i = tree_.nodes.size(); i-- > 0 && n_constraints() > 0;) {
    const Node& node = tree_.nodes[i];
    if (node.leaf >= 0) continue;
    const bool left_empty = is_empty(node.left), right_empty = is_empty(node.left + 1);
    if (left_empty == right_empty) continue;
    const std::size_t leaf = tree_.nodes[node.left + right_empty].leaf;
    for (const Monotonic& constraint : params_->monotonic) {
      if (constraint.feature != static_cast<std::size_t>(node.feature)) continue;
      fill(constraint, right_empty, leaf, leaf + 1, [&](const auto& visit) {
        std::vector<std::int32_t> below = {node.left + left_empty};
        while (!below.empty()) {
          const Node at = tree_.nodes[below.back()];
          below.pop_back();
          if (at.leaf >= 0)
            visit(static_cast<std::size_t>(at.leaf));
          else
            below.insert(below.end(), {at.left, at.left + 1});
        }
      });
    }
  }
}

void Grower::grow_oblivious() {
  while (tree_.depth < params_->max_depth) {
    const Split split = best_of_level();
    if (!split.found()) break;
    record_gain(split, channels_.unit * std::accumulate(unsplit_.begin(), unsplit_.end(), 0.0),
                gradients_->n_rows);
    next_.clear();
    next_bounds_.clear();
    for (std::size_t k = 0; k < level_.size(); ++k) {
      const LevelNode& node = level_[k];
      const std::size_t middle = partition(node, split);
      next_.push_back({node.begin, middle, 0});
      next_.push_back({middle, node.end, 0});
      bound_children(k, split, next_[2 * k], next_[2 * k + 1]);
    }
    level_.swap(next_);
    bounds_.swap(next_bounds_);
    tree_.tests.push_back(test(split));
    ++tree_.depth;
  }
  for (std::size_t k = 0; k < level_.size(); ++k) append_leaf(k, level_[k], bounds_);
  fill_empty_leaves();
}

void Grower::grow_greedy() {
  const Node leaf = {0, std::numeric_limits<float>::infinity(), 0, -1};
  tree_.nodes.push_back(leaf);
  parent_.assign(1, 0);
  split_of_.assign(1, {});
  leaves_.clear();
  leaf_bounds_.clear();
  const auto end_at = [&](std::size_t k) {
    leaves_.push_back(level_[k]);
    for (std::size_t m = 0; m < n_constraints(); ++m)
      leaf_bounds_.push_back(bounds_[k * n_constraints() + m]);
  };
  for (int depth = 0; !level_.empty(); ++depth) {
    if (depth == params_->max_depth) {
      for (std::size_t k = 0; k < level_.size(); ++k) end_at(k);
      break;
    }
    const std::vector<Split>& best = best_of_nodes();
    next_.clear();
    next_bounds_.clear();
    for (std::size_t k = 0; k < level_.size(); ++k) {
      const LevelNode node = level_[k];
      const double unsplit = channels_.unit * unsplit_[k];
      const double parent = depth == 0 ? 0.0 : unsplit;  // the root is always split
      if (!best[k].found() ||
          channels_.unit * best[k].score - parent < -1e-6 * std::max(1.0, parent)) {
        end_at(k);
        continue;
      }
      record_gain(best[k], unsplit, node.n_rows());
      const std::size_t middle = partition(node, best[k]);
      const std::size_t left = tree_.nodes.size();
      const Test t = test(best[k]);
      tree_.nodes[node.id] = {t.feature, t.threshold, static_cast<std::int32_t>(left), -1};
      tree_.nodes.insert(tree_.nodes.end(), 2, leaf);
      split_of_[node.id] = best[k];
      split_of_.insert(split_of_.end(), 2, {});
      parent_.insert(parent_.end(), 2, node.id);
      next_.push_back({node.begin, middle, left});
      next_.push_back({middle, node.end, left + 1});
      bound_children(k, best[k], next_[next_.size() - 2], next_.back());
      tree_.depth = static_cast<std::uint8_t>(depth + 1);
    }
    level_.swap(next_);
    bounds_.swap(next_bounds_);
  }
  for (std::size_t k = 0; k < leaves_.size(); ++k) {
    tree_.nodes[leaves_[k].id].left = static_cast<std::int32_t>(leaves_[k].id);
    tree_.nodes[leaves_[k].id].leaf = static_cast<std::int32_t>(k);
    append_leaf(k, leaves_[k], leaf_bounds_);
  }
  fill_empty_greedy_leaves();
}

}  // namespace

const Tree& grow(const Codes& codes, const Gradients& gradients, const GrowParams& params) {
  static thread_local Grower grower;
  return grower.grow(codes, gradients, params);
}

}  // namespace rlshare
