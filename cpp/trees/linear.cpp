#include "linear.h"

#include <algorithm>
#include <limits>

#include "../common/thread_pool.h"

namespace rlshare {
namespace {

constexpr std::size_t kThreadsFrom = 200000;  // products below which threads cost more
constexpr std::size_t kRows = 64;             // of a task
constexpr double kLargest = std::numeric_limits<float>::max();

typedef double Pair __attribute__((vector_size(16), aligned(8), may_alias));

Pair pair_at(const double* from) { return *reinterpret_cast<const Pair*>(from); }

// Sums of outputs [begin, begin + 2 * kPairs) of one row, kept in registers.
template <std::size_t kPairs>
void sum_row(const LinearPart& part, const float* x, std::size_t begin, double* out) {
  const std::size_t D = part.width();
  Pair sum[kPairs];
  for (std::size_t c = 0; c < kPairs; ++c) sum[c] = pair_at(part.intercept.data() + begin + 2 * c);
  for (std::size_t k = 0; k < part.features.size(); ++k) {
    const double value = x[part.features[k]];
    if (value != value) continue;  // missing
    const double inside = std::min(std::max(value, part.low[k]), part.high[k]);
    const double* a = part.coefficients.data() + k * D + begin;
    const double* b = part.offsets.data() + k * D + begin;
    for (std::size_t c = 0; c < kPairs; ++c)
      sum[c] += pair_at(a + 2 * c) * inside + pair_at(b + 2 * c);
  }
  for (std::size_t c = 0; c < kPairs; ++c) *reinterpret_cast<Pair*>(out + begin + 2 * c) = sum[c];
}

void add_row(const LinearPart& part, const float* x, double* sum, float* out) {
  std::size_t begin = 0;
  for (; begin + 8 <= part.width(); begin += 8) sum_row<4>(part, x, begin, sum);
  for (; begin < part.width(); begin += 2) sum_row<1>(part, x, begin, sum);
  for (std::size_t c = 0; c < part.n_outputs; ++c)
    out[c] += static_cast<float>(std::min(std::max(sum[c], -kLargest), kLargest));
}

}  // namespace

void add_linear(const LinearPart& part, const float* X, std::size_t n_rows, std::size_t n_threads,
                float* out) {
  if (n_rows * part.features.size() * part.n_outputs < kThreadsFrom) n_threads = 1;
  parallel_for((n_rows + kRows - 1) / kRows, n_threads, [&](std::size_t task) {
    std::vector<double> sum(part.width());
    const std::size_t end = std::min((task + 1) * kRows, n_rows);
    for (std::size_t i = task * kRows; i < end; ++i)
      add_row(part, X + i * part.n_features, sum.data(), out + i * part.n_outputs);
  });
}

}  // namespace rlshare
