// The rows of a matrix as the products take them: pointers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rlshare {

// All n rows of data, `width` apart.
template <typename T>
void rows_of(T* data, std::size_t width, std::size_t n, std::vector<T*>& rows) {
  rows.resize(n);
  for (std::size_t i = 0; i < n; ++i) rows[i] = data + i * width;
}

// Those that index names.
template <typename T>
void rows_of(T* data, std::size_t width, const std::vector<std::int32_t>& index,
             std::vector<T*>& rows) {
  rows.resize(index.size());
  for (std::size_t i = 0; i < index.size(); ++i)
    rows[i] = data + static_cast<std::size_t>(index[i]) * width;
}

}  // namespace rlshare
