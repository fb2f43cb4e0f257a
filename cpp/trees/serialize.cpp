#include "serialize.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace rlshare {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file format is written as memory");
static_assert(sizeof(Test) == 8 && sizeof(Node) == 16, "written without padding");

constexpr char kMagic[8] = {'R', 'L', 'S', 'H', 'A', 'R', 'E', '\x1a'};
constexpr std::uint32_t kVersion = 2;

[[noreturn]] void corrupt(const std::string& why) { throw CorruptFile(why); }

class Writer {
 public:
  template <typename T>
  void put(const T& value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <typename T>
  void put_all(const T* values, std::size_t n) {
    out.append(reinterpret_cast<const char*>(values), n * sizeof(T));
  }
  std::string out;
};

class Reader {
 public:
  Reader(const char* data, std::size_t n) : at_(data), end_(data + n) {}

  template <typename T>
  T get() {
    T value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }
  template <typename T>
  std::vector<T> get_all(std::uint64_t n) {
    if (n > static_cast<std::size_t>(end_ - at_) / sizeof(T)) corrupt("it is truncated");
    std::vector<T> values(static_cast<std::size_t>(n));
    if (n) std::memcpy(values.data(), take(n * sizeof(T)), n * sizeof(T));
    return values;
  }
  bool at_end() const { return at_ == end_; }

 private:
  const char* take(std::size_t n) {
    if (n > static_cast<std::size_t>(end_ - at_)) corrupt("it is truncated");
    const char* from = at_;
    at_ += n;
    return from;
  }
  const char *at_, *end_;
};

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

}  // namespace

// FNV-1a over 64-bit words (the last one zero-padded), then the length: any change of one word
// changes it.
std::uint64_t checksum(const char* data, std::size_t n) {
  std::uint64_t hash = 14695981039346656037ull;
  for (std::size_t i = 0; i < n; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data + i, n - i < 8 ? n - i : 8);
    hash = (hash ^ word) * 1099511628211ull;
    hash ^= hash >> 32;
  }
  return (hash ^ n) * 1099511628211ull;
}

std::string to_bytes(const Forest& forest, const std::string& metadata) {
  const ForestView v = forest.view();
  const bool greedy = v.growth == Growth::greedy;
  const std::uint64_t n_tests = v.structure_begin[v.n_trees],
                      n_leaf_floats = v.leaf_begin[v.n_trees];
  Writer w;
  w.out.append(kMagic, sizeof kMagic);
  w.put(kVersion);
  w.put(static_cast<std::uint32_t>(v.growth));
  w.put(static_cast<std::uint32_t>(v.n_features));
  w.put(static_cast<std::uint32_t>(v.n_outputs));
  w.put(static_cast<std::uint64_t>(v.n_trees));
  w.put(n_tests);
  w.put(n_leaf_floats);
  w.put(static_cast<std::uint64_t>(metadata.size()));
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
  w.out += metadata;
  w.put(checksum(w.out.data(), w.out.size()));
  return std::move(w.out);
}

Forest from_bytes(const std::string& bytes, std::string& metadata) {
  if (bytes.size() < sizeof kMagic || std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0)
    corrupt("it does not begin with the rlshare signature");
  if (bytes.size() < sizeof kMagic + 4 + 8) corrupt("it is truncated");
  const std::size_t body = bytes.size() - 8;
  Reader r(bytes.data() + sizeof kMagic, body - sizeof kMagic);
  const auto version = r.get<std::uint32_t>();
  if (version != kVersion)
    corrupt("its version is " + std::to_string(version) + ", this rlshare reads version " +
            std::to_string(kVersion));
  std::uint64_t stored;
  std::memcpy(&stored, bytes.data() + body, 8);
  if (stored != checksum(bytes.data(), body))
    corrupt("its checksum is wrong, it is truncated or damaged");

  const auto growth = r.get<std::uint32_t>();
  const auto n_features = r.get<std::uint32_t>();
  const auto n_outputs = r.get<std::uint32_t>();
  const auto n_trees = r.get<std::uint64_t>();
  const auto n_tests = r.get<std::uint64_t>();
  const auto n_leaf_floats = r.get<std::uint64_t>();
  const auto n_metadata = r.get<std::uint64_t>();
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
  const auto text = r.get_all<char>(n_metadata);
  if (!r.at_end()) corrupt("it is longer than its header says");

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
  metadata.assign(text.begin(), text.end());
  return forest;
}

}  // namespace rlshare
