// The matrix products of experts, compiled once per instruction set (products.cpp).
//
// Operands are given as pointers to their rows, so that the rows an expert was sent need not be
// gathered. Every element of a result is one sum in the order of the inner index, whatever tile or
// thread computes it: a row's result does not depend on the other rows of its batch, nor on the
// number of threads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rlshare {

enum class Activation : std::uint8_t { identity, relu, tanh };

// Columns [begin, end) of a result.
struct Columns {
  std::size_t begin, end;
};

// Where the rows of a product go: f(scale * (product + bias)), added to what is there or instead.
struct Output {
  float* const* rows;            // [m]
  const float* bias = nullptr;   // [columns]
  const float* scale = nullptr;  // [m]
  float* magnitudes = nullptr;   // [columns]: += |scale * (product + bias)|
  Activation activation = Activation::identity;
  bool add = false;
};

// A matrix whose rows are `stride` floats apart.
struct Matrix {
  const float* data;
  std::size_t stride;
};

// Floats of scratch that a product needs, for an inner dimension n.
constexpr std::size_t panel_size(std::size_t n) { return 128 * n; }

struct Products {
  // out[i, j] = sum_k a[i][k] b[k, j], for m rows a of n floats; panel is scratch.
  void (*times)(const float* const* a, std::size_t m, std::size_t n, Matrix b, Columns columns,
                const Output& out, float* panel);
  // out[i, j] = sum_k a[i][k] b[j, k]; panel is scratch.
  void (*times_transpose)(const float* const* a, std::size_t m, std::size_t n, Matrix b,
                          Columns columns, const Output& out, float* panel);
  // out[i, j] = sum_k a[k][i] b[k][j] for i < m, over n rows.
  void (*transpose_times)(const float* const* a, const float* const* b, std::size_t n,
                          std::size_t m, Columns columns, float* out, std::size_t stride);
  // Of one row: from the gradient g at f's output to that at its input, scaled, and scaled outputs:
  // returns sum g f; then g = scale * g * f', scaled = scale * f.
  float (*backward)(Activation activation, const float* f, float* g, float scale, float* scaled,
                    std::size_t n);
  float (*dot)(const float* a, const float* b, std::size_t n);
};

// Those of the instruction set in use.
const Products& products();

}  // namespace rlshare
