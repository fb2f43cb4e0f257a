#include "channels.h"

#include <algorithm>
#include <cmath>

#include "../common/round_up.h"

namespace rlshare {
namespace {

double power_of_two_near(float largest) {
  int exponent = 0;
  std::frexp(largest, &exponent);
  return std::ldexp(1.0, std::clamp(exponent, -100, 100));
}

// Adds kGroups * kChannelPad neighbouring channels of each row. Sums that are held in registers do
// not wait for each other; each of them adds its rows in the same order as it would alone.
template <std::size_t kGroups>
void add_rows(const float* values, std::size_t width, const std::uint32_t* rows, std::size_t n,
              double* total) {
  constexpr std::size_t kLanes = kGroups * kChannelPad;
  double sums[kLanes] = {};
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = values + rows[i] * width;
    for (std::size_t c = 0; c < kLanes; ++c) sums[c] += row[c];
  }
  std::copy_n(sums, kLanes, total);
}

}  // namespace

// (g - mean) / (std_{n-1} + 1e-8), std = 0 when n = 1.
Channels::Standardisation Channels::standardise(const Gradients& g, std::size_t output) {
  double sum = 0.0, weight = 0.0, squares = 0.0;
  for (std::size_t i = 0; i < g.n_rows; ++i) {
    sum += double(g.weight(i, output)) * g.values[i * g.n_outputs + output];
    weight += g.weight(i, output);
  }
  if (weight <= 0.0) return {};
  const double mean = sum / weight;
  for (std::size_t i = 0; i < g.n_rows; ++i) {
    const double delta = g.values[i * g.n_outputs + output] - mean;
    squares += g.weight(i, output) * delta * delta;
  }
  const double n = double(g.n_rows);
  const double std = g.n_rows > 1 ? std::sqrt(squares / weight * n / (n - 1.0)) : 0.0;
  return {mean, 1.0 / (std + 1e-8)};
}

void Channels::fill(const Gradients& g, Score score) {
  n_outputs = g.n_outputs;
  weights = g.weight_kind;
  const std::size_t n_weights = weights == WeightKind::none      ? 0
                                : weights == WeightKind::per_row ? 1
                                                                 : n_outputs;
  n_channels = n_outputs + 1 + n_weights;
  width = round_up(n_channels, kChannelPad);
  values.assign(g.n_rows * width, 0.f);

  per_output_.assign(n_outputs, {});
  unit = 1.0;
  if (score == Score::l2) {
    for (std::size_t c = 0; c < n_outputs; ++c) per_output_[c] = standardise(g, c);
  } else {
    float largest = 0.f;
    for (std::size_t i = 0; i < g.n_rows * n_outputs; ++i)
      largest = std::max(largest, std::fabs(g.values[i]));
    if (largest > 0.f) unit = power_of_two_near(largest);
    for (Standardisation& s : per_output_) s.scale = 1.0 / unit;
  }
  for (std::size_t i = 0; i < g.n_rows; ++i) {
    float* out = values.data() + i * width;
    for (std::size_t c = 0; c < n_outputs; ++c) {
      const Standardisation& s = per_output_[c];
      const double z = (g.values[i * n_outputs + c] - s.mean) * s.scale;
      out[c] = static_cast<float>(g.weight(i, c) * z);
    }
    out[n_outputs] = 1.f;
    for (std::size_t k = 0; k < n_weights; ++k) out[n_outputs + 1 + k] = g.weight(i, k);
  }
}

void Channels::sum(const std::uint32_t* rows, std::size_t n, float* total) {
  sums_.resize(width);
  constexpr std::size_t kPair = 2 * kChannelPad;
  std::size_t c = 0;
  for (; c + kPair <= width; c += kPair)
    add_rows<2>(values.data() + c, width, rows, n, sums_.data() + c);
  if (c < width) add_rows<1>(values.data() + c, width, rows, n, sums_.data() + c);
  for (c = 0; c < n_channels; ++c) total[c] = static_cast<float>(sums_[c]);
}

}  // namespace rlshare
