// libFuzzer over the loader: bytes are refused with CorruptFile, or are a forest that predicts and
// survives a round trip. Everything else, from a crash to another exception, is a finding.
//
// An input's last bit chooses between leaving its checksum alone and putting it right, which is
// what lets mutations reach the parser; of the layout nothing else is assumed.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "../trees/sections.h"
#include "../trees/serialize.h"
#include "../trees/tree_arrays.h"

using namespace rlshare;

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

// Rows that take every branch: missing, infinite, whole and fractional values. A category is never
// infinite, as the caller has to ensure.
std::vector<float> observations(const Forest& forest, std::size_t n_rows) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNumbers[] = {0.f, 1.f, -0.5f, 2.f, 1e30f, -1e30f, kInf, -kInf};
  constexpr float kCategories[] = {0.f, 1.f, 2.f, 3.f, -1.f, 1e9f};
  std::vector<float> X;
  for (std::size_t i = 0; i < n_rows; ++i)
    for (std::size_t f = 0; f < forest.n_features(); ++f) {
      const std::size_t k = i * 7 + f * 3;
      if (i % 5 == 4)
        X.push_back(std::numeric_limits<float>::quiet_NaN());
      else
        X.push_back(forest.categorical()[f] ? kCategories[k % 6] : kNumbers[k % 8]);
    }
  return X;
}

std::vector<float> predict(const Forest& forest, const std::vector<float>& X, std::size_t n_rows) {
  std::vector<float> out(n_rows * forest.n_outputs());
  forest.fill_bias(out.data(), n_rows);
  forest.add_trees(X.data(), n_rows, 0, forest.n_trees(), nullptr, 1, out.data());
  return out;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {  // bits: NaN equals itself
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void use(const Forest& forest, const OwnersSections& sections) {
  constexpr std::size_t kRows = 67;  // more than a block
  const std::vector<float> X = observations(forest, kRows);
  const std::vector<float> predicted = predict(forest, X, kRows);
  for (std::size_t t = 0; t < forest.n_trees(); ++t) tree_arrays(forest.view(), t);

  const std::string bytes = to_bytes(forest, sections);
  const ModelFile again = from_bytes(bytes);
  require(again.sections == sections, "the owner's sections do not survive a round trip");
  require(to_bytes(again.forest, sections) == bytes, "the bytes of a second round trip differ");
  require(same(predict(again.forest, X, kRows), predicted),
          "a prediction does not survive a round trip");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size >= 8 && data[size - 1] % 2 == 0) {
    const std::uint64_t right = checksum(bytes.data(), size - 8);
    std::memcpy(&bytes[size - 8], &right, sizeof right);
  }
  std::optional<ModelFile> file;
  try {
    file.emplace(from_bytes(bytes));
  } catch (const CorruptFile&) {
    return 0;
  } catch (const std::bad_alloc&) {
    return 0;
  }
  use(file->forest, file->sections);
  return 0;
}
