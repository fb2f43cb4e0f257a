// What the bindings share: arrays of the caller, and what would be unsafe to take.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <vector>

#include "../common/thread_pool.h"

namespace rlshare {

template <typename T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;
using FloatArray = Array<float>;

inline std::size_t threads(std::size_t requested) {
  return requested ? requested : available_threads();
}

inline void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

inline void check_rows(const FloatArray& X, std::size_t n_features) {
  require(X.ndim() == 2 && static_cast<std::size_t>(X.shape(1)) == n_features,
          "X must have shape [n, n_features]");
}

template <typename T>
Array<T> array(const T* values, std::size_t n) {
  return Array<T>(static_cast<pybind11::ssize_t>(n), values);
}

template <typename T>
Array<T> array(const std::vector<T>& values) {
  return array(values.data(), values.size());
}

template <typename T>
Array<T> table(const T* values, std::size_t n_rows, std::size_t n_columns) {
  return Array<T>({n_rows, n_columns}, values);
}

}  // namespace rlshare
