// Monotonic constraints on the leaves of a tree, while it is grown and after.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "../binning.h"
#include "../forest.h"
#include "level.h"

namespace rlshare {

// F of an output must not fall (sign 1) or rise (sign -1) while a numeric feature rises. A missing
// value is outside of this, and so are splits at kMissing, which part it from the numbers.
struct Monotonic {
  std::size_t feature, output;
  int sign;
};

// What the mean gradient of every node may be, as the constraints on the splits above demand:
// a value between the means of a split's sides bounds all leaves below, as in XGBoost. Gradients
// point the other way than F. Every function but start() and empty() wants at least one constraint.
class MonotonicBounds {
 public:
  // Bounds of the root. rows: the grower's row order, which it goes on changing.
  void start(const std::vector<Monotonic>& constraints, const Codes& codes,
             const Gradients& gradients, const std::uint32_t* rows, double l2);
  bool empty() const { return constraints_->empty(); }

  // Whether candidate j of a feature leaves the two sides of the level's node k in the order that
  // every constraint on the feature demands; empty where there is none.
  const std::vector<std::uint8_t>& ordered(std::size_t feature, std::size_t k,
                                           const LevelNode& node) const;
  // The level's node k is split; its children come next in the level below.
  void split(std::size_t k, const Split& split, const LevelNode& left, const LevelNode& right);
  // The level's node k is the tree's next leaf.
  void end(std::size_t k);
  void next_level();

  // The mean gradient of an output, moved into the leaf's bounds.
  double clamp(std::size_t leaf, std::size_t output, double mean) const;
  // Leaves without rows are moved to where the others allow them to be. leaves: rows of each leaf.
  void fill_empty(Tree& tree, const std::vector<LevelNode>& leaves) const;

 private:
  struct Bounds {
    double low = -std::numeric_limits<double>::infinity();
    double high = std::numeric_limits<double>::infinity();

    double clamp(double mean) const;
  };

  template <typename Others>
  void fill(Tree& tree, const Monotonic& constraint, bool on_the_right, std::size_t begin,
            std::size_t end, const Others& visit_others) const;
  void fill_oblivious(Tree& tree, const std::vector<LevelNode>& leaves) const;
  void fill_greedy(Tree& tree, const std::vector<LevelNode>& leaves) const;

  const std::vector<Monotonic>* constraints_ = nullptr;
  const Codes* codes_ = nullptr;
  const Gradients* gradients_ = nullptr;
  const std::uint32_t* rows_ = nullptr;
  double l2_ = 0.0;
  std::vector<Bounds> level_, next_, leaves_;  // [n_nodes, n_constraints]
};

}  // namespace rlshare
