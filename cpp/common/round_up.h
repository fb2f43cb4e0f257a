#pragma once

#include <cstddef>

namespace rlshare {

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace rlshare
