// The linear part of a prediction: beside the trees, a straight line in every numeric feature.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../common/round_up.h"

namespace rlshare {

struct LinearPart {
  std::size_t n_features, n_outputs;
  std::vector<double> intercept;       // [width]
  std::vector<std::int64_t> features;  // [k], those that take part, ascending
  std::vector<double> coefficients;    // [k, width], in the unit of the feature
  std::vector<double> offsets;         // [k, width], what goes with a value that is there
  std::vector<double> low, high;       // [k], finite: values beyond count as these

  std::size_t width() const { return round_up(n_outputs, 2); }
};

// Adds to out [n_rows, n_outputs], rounded to float32 once,
//   intercept_c + sum over the features of a row that are not missing of (a_jc * x_j + b_jc).
// Sums are float64 in the order of the features; what is beyond float32 counts as the largest.
// X: [n_rows, n_features]. Rows are added in parallel, and so no number of threads changes a bit.
void add_linear(const LinearPart& part, const float* X, std::size_t n_rows, std::size_t n_threads,
                float* out);

}  // namespace rlshare
