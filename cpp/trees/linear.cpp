#include "linear.h"

#include <algorithm>
#include <limits>

#include "../common/thread_pool.h"

namespace rlshare {
namespace {

constexpr std::size_t kThreadsFrom = 200000;  // products below which threads cost more
constexpr std::size_t kRows = 64;             // of a task
constexpr double kLargest = std::numeric_limits<float>::max();

void add_row(const LinearPart& part, const float* x, double* sum, float* out) {
  const std::size_t D = part.n_outputs;
  std::copy_n(part.intercept.data(), D, sum);
  for (std::size_t k = 0; k < part.features.size(); ++k) {
    const double value = x[part.features[k]];
    if (value != value) continue;  // missing
    const double inside = std::min(std::max(value, part.low[k]), part.high[k]);
    const double* a = part.coefficients.data() + k * D;
    const double* b = part.offsets.data() + k * D;
    for (std::size_t c = 0; c < D; ++c) sum[c] += a[c] * inside + b[c];
  }
  for (std::size_t c = 0; c < D; ++c)
    out[c] += static_cast<float>(std::min(std::max(sum[c], -kLargest), kLargest));
}

}  // namespace

void add_linear(const LinearPart& part, const float* X, std::size_t n_rows, std::size_t n_threads,
                float* out) {
  if (n_rows * part.features.size() * part.n_outputs < kThreadsFrom) n_threads = 1;
  parallel_for((n_rows + kRows - 1) / kRows, n_threads, [&](std::size_t task) {
    std::vector<double> sum(part.n_outputs);
    const std::size_t end = std::min((task + 1) * kRows, n_rows);
    for (std::size_t i = task * kRows; i < end; ++i)
      add_row(part, X + i * part.n_features, sum.data(), out + i * part.n_outputs);
  });
}

}  // namespace rlshare
