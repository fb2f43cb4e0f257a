#include "serialize.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "sections.h"

namespace rlshare {
namespace {

static_assert(sizeof(Test) == 8 && sizeof(Node) == 16, "written without padding");

constexpr std::size_t kHead2 = 12;  // of version 2: magic and version
struct Known {
  const char* name;
  bool required;  // of a reader: one that does not know it must refuse the file
  bool always;    // there
};
constexpr Known kOwners[] = {{"metadata", true, true},
                             {"feature_names", false, false},
                             {"linear", true, false},
                             {"drawn_from", false, false}};

void check_finite(const std::vector<float>& values, const char* what) {
  for (float v : values)
    if (!std::isfinite(v)) corrupt(std::string(what) + " are not all finite");
}

void check_oblivious(const Tree& tree, std::size_t n_features) {
  for (const Test& t : tree.tests)
    if (static_cast<std::uint32_t>(t.feature) >= n_features || std::isnan(t.threshold))
      corrupt("a test is out of range");
}

// Returns the number of leaves; every walk of `depth` steps from the root must end in a leaf.
std::size_t check_greedy(const Tree& tree, std::size_t n_features) {
  const std::size_t n = tree.nodes.size();
  std::vector<int> level(n, -1);
  std::size_t n_leaves = 0;
  for (const Node& node : tree.nodes) n_leaves += node.leaf >= 0;
  std::vector<bool> seen(n_leaves, false);
  if (n == 0) corrupt("a tree has no nodes");
  level[0] = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const Node& node = tree.nodes[i];
    const std::size_t left = static_cast<std::uint32_t>(node.left);
    if (static_cast<std::uint32_t>(node.feature) >= n_features || std::isnan(node.threshold))
      corrupt("a node is out of range");
    if (level[i] < 0) corrupt("a node has no parent");
    if (node.leaf >= 0) {
      const std::size_t leaf = static_cast<std::size_t>(node.leaf);
      if (leaf >= n_leaves || seen[leaf] || left != i || level[i] > tree.depth ||
          node.threshold != std::numeric_limits<float>::infinity())
        corrupt("a leaf is out of range");
      seen[leaf] = true;
    } else {
      if (node.leaf != -1 || left <= i || left + 1 >= n || level[left] >= 0 || level[left + 1] >= 0)
        corrupt("a node's children are out of range");
      level[left] = level[left + 1] = level[i] + 1;
    }
  }
  return n_leaves;
}

struct Counts {
  std::uint32_t growth, n_features, n_outputs;
  std::uint64_t n_trees, n_tests, n_leaf_floats;
};

Counts read_counts(Reader& r) {
  Counts counts;
  counts.growth = r.get<std::uint32_t>();
  counts.n_features = r.get<std::uint32_t>();
  counts.n_outputs = r.get<std::uint32_t>();
  counts.n_trees = r.get<std::uint64_t>();
  counts.n_tests = r.get<std::uint64_t>();
  counts.n_leaf_floats = r.get<std::uint64_t>();
  return counts;
}

Forest read_forest(Reader& r, const Counts& counts) {
  const auto [growth, n_features, n_outputs, n_trees, n_tests, n_leaf_floats] = counts;
  if (growth > 1) corrupt("its growth policy is unknown");
  if (n_features == 0 || n_outputs == 0) corrupt("it has no features or no outputs");
  const bool greedy = growth == 1;

  const auto categorical = r.get_all<std::uint8_t>(n_features);
  for (std::uint8_t c : categorical)
    if (c > 1) corrupt("a feature is neither numeric nor categorical");
  const auto bias = r.get_all<float>(n_outputs);
  check_finite(bias, "its biases");
  const auto importances = r.get_all<double>(std::uint64_t{3} * n_features);
  for (double v : importances)
    if (!(v >= 0.0 && std::isfinite(v))) corrupt("its importances are not finite and >= 0");
  const auto depth = r.get_all<std::uint8_t>(n_trees);
  const auto n_nodes = r.get_all<std::uint32_t>(greedy ? n_trees : 0);
  const auto tests = r.get_all<Test>(greedy ? 0 : n_tests);
  const auto nodes = r.get_all<Node>(greedy ? n_tests : 0);
  const auto leaves = r.get_all<float>(n_leaf_floats);
  check_finite(leaves, "its leaves");
  if (n_trees > std::numeric_limits<std::uint64_t>::max() / n_outputs) corrupt("it is truncated");
  const auto rates = r.get_all<float>(n_trees * n_outputs);
  check_finite(rates, "its learning rates");

  Forest forest(static_cast<Growth>(growth), n_features, bias, categorical);
  std::size_t at = 0, leaf_at = 0;
  for (std::size_t t = 0; t < n_trees; ++t) {
    Tree tree;
    tree.depth = depth[t];
    if (tree.depth > kMaxDepth) corrupt("a tree is deeper than 16");
    const std::size_t n = greedy ? n_nodes[t] : depth[t];
    if (n > n_tests - at) corrupt("its trees have more tests than its header says");
    std::size_t n_leaves = std::size_t{1} << tree.depth;
    if (greedy) {
      tree.nodes.assign(nodes.begin() + at, nodes.begin() + at + n);
      n_leaves = check_greedy(tree, n_features);
    } else {
      tree.tests.assign(tests.begin() + at, tests.begin() + at + n);
      check_oblivious(tree, n_features);
    }
    if (n_leaves > (leaves.size() - leaf_at) / n_outputs)
      corrupt("its trees have more leaves than its header says");
    const auto leaf = leaves.begin() + leaf_at;
    tree.leaves.assign(leaf, leaf + n_leaves * n_outputs);
    const auto rate = rates.begin() + t * n_outputs;
    tree.rates.assign(rate, rate + n_outputs);
    forest.append(tree);
    at += n;
    leaf_at += n_leaves * n_outputs;
  }
  if (at != n_tests || leaf_at != leaves.size())
    corrupt("its trees have fewer tests or leaves than its header says");
  forest.set_importances(importances);
  return forest;
}

std::string write_forest(const Forest& forest) {
  const ForestView v = forest.view();
  const bool greedy = v.growth == Growth::greedy;
  const std::uint64_t n_tests = v.structure_begin[v.n_trees];
  const std::uint64_t n_leaf_floats = v.leaf_begin[v.n_trees];
  Writer w;
  w.put(static_cast<std::uint32_t>(v.growth));
  w.put(static_cast<std::uint32_t>(v.n_features));
  w.put(static_cast<std::uint32_t>(v.n_outputs));
  w.put(static_cast<std::uint64_t>(v.n_trees));
  w.put(n_tests);
  w.put(n_leaf_floats);
  w.put_all(v.categorical, v.n_features);
  w.put_all(v.bias, v.n_outputs);
  w.put_all(forest.importances().data(), forest.importances().size());
  w.put_all(v.depth, v.n_trees);
  for (std::size_t t = 0; greedy && t < v.n_trees; ++t)
    w.put(static_cast<std::uint32_t>(v.structure_begin[t + 1] - v.structure_begin[t]));
  if (greedy)
    w.put_all(v.nodes, n_tests);
  else
    w.put_all(v.tests, n_tests);
  w.put_all(v.leaves, n_leaf_floats);
  w.put_all(v.rates, v.n_trees * v.n_outputs);
  return std::move(w.out);
}

ModelFile from_version_2(std::string_view file) {
  Reader r(file.substr(kHead2, file.size() - 8 - kHead2));
  const Counts counts = read_counts(r);
  const auto n_metadata = r.get<std::uint64_t>();
  Forest forest = read_forest(r, counts);
  const auto text = r.get_all<char>(n_metadata);
  if (!r.at_end()) corrupt("it is longer than its header says");
  forest.raise_lowest_thresholds();
  return {std::move(forest), {{"metadata", {text.begin(), text.end()}}}};
}

ModelFile from_version_3(std::string_view file) {
  std::optional<Forest> forest;
  OwnersSections owners;
  for (const Section& section : split_sections(file)) {
    if (section.name == "forest") {
      Reader r(section.bytes);
      const Counts counts = read_counts(r);
      forest.emplace(read_forest(r, counts));
      if (!r.at_end()) corrupt("its forest is longer than its header says");
      continue;
    }
    bool known = false;
    for (const Known& owner : kOwners) known |= section.name == owner.name;
    if (known)
      owners[section.name] = section.bytes;
    else if (section.required)
      corrupt("it needs the section " + section.name + ", which this rlshare does not know");
  }
  if (!forest) corrupt("it lacks the section forest");
  for (const Known& owner : kOwners)
    if (owner.always && !owners.count(owner.name))
      corrupt(std::string("it lacks the section ") + owner.name);
  return {std::move(*forest), std::move(owners)};
}

}  // namespace

std::string to_bytes(const Forest& forest, const OwnersSections& owners) {
  const std::string bytes = write_forest(forest);
  std::vector<Section> sections = {{"forest", true, bytes}};
  for (const Known& owner : kOwners)
    if (const auto found = owners.find(owner.name); found != owners.end())
      sections.push_back({owner.name, owner.required, found->second});
  if (sections.size() != owners.size() + 1)
    throw std::invalid_argument("a section must be one that serialize.h names");
  return join_sections(sections);
}

ModelFile from_bytes(const std::string& bytes) {
  return checked_version(bytes) == 2 ? from_version_2(bytes) : from_version_3(bytes);
}

}  // namespace rlshare
