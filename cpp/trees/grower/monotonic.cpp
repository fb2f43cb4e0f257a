#include "monotonic.h"

#include <algorithm>

namespace rlshare {

double MonotonicBounds::Bounds::clamp(double mean) const {
  return std::min(std::max(mean, low), high);
}

void MonotonicBounds::start(const std::vector<Monotonic>& constraints, const Codes& codes,
                            const Gradients& gradients, const std::uint32_t* rows, double l2) {
  constraints_ = &constraints;
  codes_ = &codes;
  gradients_ = &gradients;
  rows_ = rows;
  l2_ = l2;
  level_.assign(constraints.size(), {});
  next_.clear();
  leaves_.clear();
}

const std::vector<std::uint8_t>& MonotonicBounds::ordered(std::size_t feature, std::size_t k,
                                                          const LevelNode& node) const {
  static thread_local std::vector<std::uint8_t> ordered;
  static thread_local std::vector<Sum> of_code;
  ordered.clear();
  for (std::size_t m = 0; m < constraints_->size(); ++m) {
    const Monotonic& constraint = (*constraints_)[m];
    if (constraint.feature != feature) continue;
    const FeatureBins& bins = codes_->features[feature];
    const Bounds& bounds = level_[k * constraints_->size() + m];
    const std::size_t n = bins.candidates.size();
    ordered.resize(n, 1);
    of_code.assign(n + 1, {});
    for (std::size_t i = node.begin; i < node.end; ++i)
      of_code[bins.narrow[rows_[i]]].add(
          gradients_->values[rows_[i] * gradients_->n_outputs + constraint.output],
          gradients_->weight(rows_[i], constraint.output));
    Sum left, all = sum(*gradients_, rows_, node, constraint.output);
    for (std::size_t j = 0; j < n; ++j) {
      left.gradient += of_code[j].gradient;
      left.weight += of_code[j].weight;
      const Sum right = {all.gradient - left.gradient, all.weight - left.weight};
      if (!(left.weight > 0.0 && right.weight > 0.0) || bins.candidates[j] == kMissing) continue;
      const double difference = bounds.clamp(left.mean(l2_)) - bounds.clamp(right.mean(l2_));
      if (constraint.sign * difference < 0.0) ordered[j] = 0;
    }
  }
  return ordered;
}

// On a constrained feature a value between the means of the children parts them, and with them all
// leaves below. Where one side is empty it would bind the other for nothing: fill_empty() sees to
// it.
void MonotonicBounds::split(std::size_t k, const Split& split, const LevelNode& left,
                            const LevelNode& right) {
  const std::size_t at = next_.size(), n = constraints_->size();
  for (int child = 0; child < 2; ++child)
    for (std::size_t m = 0; m < n; ++m) next_.push_back(level_[k * n + m]);
  if (left.n_rows() == 0 || right.n_rows() == 0) return;
  if (codes_->features[split.feature].candidates[split.candidate] == kMissing) return;
  for (std::size_t own = 0; own < n; ++own) {
    const Monotonic& constraint = (*constraints_)[own];
    if (constraint.feature != split.feature) continue;
    const Bounds& bounds = level_[k * n + own];
    const Sum l = sum(*gradients_, rows_, left, constraint.output);
    const Sum r = sum(*gradients_, rows_, right, constraint.output);
    const Sum both = {l.gradient + r.gradient, l.weight + r.weight};
    const double mean_l = bounds.clamp(l.mean(l2_)), mean_r = bounds.clamp(r.mean(l2_));
    const bool parted =
        l.weight > 0.0 && r.weight > 0.0 && constraint.sign * (mean_l - mean_r) >= 0.0;
    const double middle = bounds.clamp(parted ? mean_l + (mean_r - mean_l) / 2 : both.mean(l2_));
    // Every constraint on this output bounds the same leaves.
    for (std::size_t m = 0; m < n; ++m) {
      if ((*constraints_)[m].output != constraint.output) continue;
      Bounds& low_side = next_[at + (constraint.sign > 0 ? n : 0) + m];
      Bounds& high_side = next_[at + (constraint.sign > 0 ? 0 : n) + m];
      low_side.high = std::min(low_side.high, middle);
      high_side.low = std::max(high_side.low, middle);
    }
  }
}

void MonotonicBounds::end(std::size_t k) {
  const auto own = level_.begin() + k * constraints_->size();
  leaves_.insert(leaves_.end(), own, own + constraints_->size());
}

void MonotonicBounds::next_level() {
  level_.swap(next_);
  next_.clear();
}

double MonotonicBounds::clamp(std::size_t leaf, std::size_t output, double mean) const {
  for (std::size_t m = 0; m < constraints_->size(); ++m)
    if ((*constraints_)[m].output == output)
      mean = leaves_[leaf * constraints_->size() + m].clamp(mean);
  return mean;
}

// Leaves [begin, end) without rows lie right or left of others in order of a constrained feature.
// `visit_others` calls its argument with each of those.
template <typename Others>
void MonotonicBounds::fill(Tree& tree, const Monotonic& constraint, bool on_the_right,
                           std::size_t begin, std::size_t end, const Others& visit_others) const {
  const std::size_t D = gradients_->n_outputs;
  const float sign = static_cast<float>(on_the_right ? constraint.sign : -constraint.sign);
  float largest = -std::numeric_limits<float>::infinity();
  visit_others([&](std::size_t leaf) {
    largest = std::max(largest, sign * tree.leaves[leaf * D + constraint.output]);
  });
  for (std::size_t leaf = begin; leaf < end; ++leaf) {
    float& value = tree.leaves[leaf * D + constraint.output];
    value = sign * std::max(sign * value, largest);
  }
}

void MonotonicBounds::fill_empty(Tree& tree, const std::vector<LevelNode>& leaves) const {
  if (tree.nodes.empty())
    fill_oblivious(tree, leaves);
  else
    fill_greedy(tree, leaves);
}

// From the lowest nodes up, so that the leaves on the other side have their values.
void MonotonicBounds::fill_oblivious(Tree& tree, const std::vector<LevelNode>& leaves) const {
  for (int level = tree.depth - 1; level >= 0; --level) {
    if (tree.tests[level].threshold == kMissing) continue;
    const std::size_t half = std::size_t{1} << (tree.depth - 1 - level);
    for (std::size_t begin = 0; begin < leaves.size(); begin += 2 * half) {
      const std::size_t middle = begin + half, end = middle + half;
      const bool left_empty = leaves[begin].begin == leaves[middle - 1].end;
      const bool right_empty = leaves[middle].begin == leaves[end - 1].end;
      if (left_empty == right_empty) continue;
      for (const Monotonic& constraint : *constraints_) {
        if (constraint.feature != static_cast<std::size_t>(tree.tests[level].feature)) continue;
        fill(tree, constraint, right_empty, right_empty ? middle : begin,
             right_empty ? end : middle, [&](const auto& visit) {
               for (std::size_t leaf = right_empty ? begin : middle;
                    leaf < (right_empty ? middle : end); ++leaf)
                 visit(leaf);
             });
      }
    }
  }
}

// Likewise for a greedy tree, whose nodes without rows are leaves.
void MonotonicBounds::fill_greedy(Tree& tree, const std::vector<LevelNode>& leaves) const {
  const auto is_empty = [&](std::int32_t node) {
    const std::int32_t leaf = tree.nodes[node].leaf;
    return leaf >= 0 && leaves[leaf].n_rows() == 0;
  };
  for (std::size_t i = tree.nodes.size(); i-- > 0;) {
    const Node& node = tree.nodes[i];
    if (node.leaf >= 0 || node.threshold == kMissing) continue;
    const bool left_empty = is_empty(node.left), right_empty = is_empty(node.left + 1);
    if (left_empty == right_empty) continue;
    const std::size_t leaf = tree.nodes[node.left + right_empty].leaf;
    for (const Monotonic& constraint : *constraints_) {
      if (constraint.feature != static_cast<std::size_t>(node.feature)) continue;
      fill(tree, constraint, right_empty, leaf, leaf + 1, [&](const auto& visit) {
        std::vector<std::int32_t> below = {node.left + left_empty};
        while (!below.empty()) {
          const Node at = tree.nodes[below.back()];
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

}  // namespace rlshare
