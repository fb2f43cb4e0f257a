// Large blocks of floats that stay mapped when released, for the next one who wants as many: the
// operating system takes longer to map and clear a gradient's pages than a step to fill them.
#pragma once

#include <cstddef>
#include <memory>

namespace rlshare {

struct ReleaseBlock {
  std::size_t n = 0;
  void operator()(float* block) const;
};

// Not initialised, aligned to a cache line.
using Block = std::unique_ptr<float[], ReleaseBlock>;

Block acquire_block(std::size_t n);

// A block that only grows.
float* grown(Block& block, std::size_t n);

// Scratch of the calling thread, at least n floats, which the next call may hand out again.
float* scratch(std::size_t n);

}  // namespace rlshare
