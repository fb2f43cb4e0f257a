// The inner loops of prediction, compiled once per instruction set (predict_kernels.cpp).
//
// Every kernel does the same float32 operations in the same order whatever the vector width, so
// that the instruction set never changes a result: lanes run over rows, tests or outputs, and no
// sum is ever split over lanes.
#pragma once

#include <cstddef>

#include "view.h"

namespace rlshare {

struct PredictKernels {
  // Adds trees [begin, end) to acc [rows, round_up(n_outputs, 4)]; x is [n_features, kBlockRows],
  // weights [n_trees] or null for 1 each.
  void (*predict_oblivious)(const ForestView& view, const float* weights, const float* x,
                            std::size_t rows, std::size_t begin, std::size_t end, float* acc);
  void (*predict_greedy)(const ForestView& view, const float* weights, const float* x,
                         std::size_t rows, std::size_t begin, std::size_t end, float* acc);
};

// Those of the instruction set in use.
const PredictKernels& predict_kernels();

}  // namespace rlshare
