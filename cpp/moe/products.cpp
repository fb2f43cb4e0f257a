// Compiled once per instruction set; see products.h. Nothing here may call an inline function of
// the standard library: the linker could then pick a copy built for another instruction set.
#include "products.h"

#include <utility>

#include "../common/per_isa.h"

#if defined(__FMA__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define RLSHARE_INLINE inline __attribute__((always_inline))

namespace rlshare {
namespace {

#if defined(__AVX512F__)
constexpr std::size_t kLanes = 16, kAccumulators = 24;
#elif defined(__AVX2__)
constexpr std::size_t kLanes = 8, kAccumulators = 12;
#else
constexpr std::size_t kLanes = 4, kAccumulators = 12;
#endif
constexpr std::size_t kMaxRows = kAccumulators / 2;

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef float Unaligned __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef std::int32_t Integers __attribute__((vector_size(4 * kLanes)));

RLSHARE_INLINE Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
RLSHARE_INLINE void store(float* to, Vector v) { *reinterpret_cast<Unaligned*>(to) = v; }

// sum + a * b, fused where the machine can. A compiler that may contract by itself does so in one
// tile and not in the next, and then a row's result depends on its batch (seen with GCC 13).
RLSHARE_INLINE Vector multiply_add(Vector a, float b, Vector sum) {
#if defined(__AVX512F__)
  return (Vector)_mm512_fmadd_ps((__m512)a, _mm512_set1_ps(b), (__m512)sum);
#elif defined(__FMA__)
  return (Vector)_mm256_fmadd_ps((__m256)a, _mm256_set1_ps(b), (__m256)sum);
#elif defined(__aarch64__)
  return (Vector)vfmaq_n_f32((float32x4_t)sum, (float32x4_t)a, b);
#else
  return sum + a * b;
#endif
}

// The first `lanes` lanes; the others are 0.
RLSHARE_INLINE Vector load(const float* from, std::size_t lanes) {
  Vector v = {};
  for (std::size_t i = 0; i < kLanes; ++i)
    if (i < lanes) v[i] = from[i];
  return v;
}
RLSHARE_INLINE void store(float* to, Vector v, std::size_t lanes) {
  for (std::size_t i = 0; i < kLanes; ++i)
    if (i < lanes) to[i] = v[i];
}

// Loads and stores of whole vectors, or, with kPartial, of their first `lanes` lanes.
template <bool kPartial>
RLSHARE_INLINE Vector load_some(const float* from, std::size_t lanes) {
  return kPartial ? load(from, lanes) : load(from);
}
template <bool kPartial>
RLSHARE_INLINE void store_some(float* to, Vector v, std::size_t lanes) {
  if (kPartial)
    store(to, v, lanes);
  else
    store(to, v);
}

RLSHARE_INLINE Vector abs(Vector v) { return v < 0 ? -v : v; }

// exp by its Taylor polynomial on [-ln 2 / 2, ln 2 / 2], relative error 2e-7; v in [-87, 87].
RLSHARE_INLINE Vector exp(Vector v) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Vector shifted = v * 1.44269504f + kRound;
  const Vector n = shifted - kRound;
  const Vector r = (v - n * .693359375f) + n * 2.12194440e-4f;
  Vector sum = r * (1.0f / 720) + 1.0f / 120;
  sum = sum * r + 1.0f / 24;
  sum = sum * r + 1.0f / 6;
  sum = sum * r + .5f;
  sum = sum * r + 1;
  sum = sum * r + 1;
  const Integers power = (Integers)sum + ((Integers)shifted << 23);
  return (Vector)power;
}

// Not inlined: tiles would hold a copy for each of their vectors.
__attribute__((noinline)) Vector tanh(Vector v) {
  const Vector x = abs(v) > 9 ? (v < 0 ? v * 0 - 9 : v * 0 + 9) : v;
  const Vector bounded = 1 - 2 / (exp(2 * x) + 1);
  // near 0 the difference above cancels; NaN stays NaN through either
  const Vector square = x * x;
  const Vector series = x * (1 + square * (-1.0f / 3 + square * (2.0f / 15)));
  return abs(x) < .05f ? series : bounded;
}

// A tile of a result: kRows rows and kColumns vectors, held in registers over the inner loop. With
// kPartial it is one vector of which the first `lanes` lanes exist.
template <std::size_t kRows, std::size_t kColumns, bool kPartial>
struct Tile {
  Vector sums[kRows][kColumns] = {};
  std::size_t lanes;

  explicit RLSHARE_INLINE Tile(std::size_t lanes) : lanes(lanes) {}

  // += the outer product of kRows numbers and kColumns vectors.
  template <typename Number>
  RLSHARE_INLINE void add(Number a, const float* b) {
    Vector columns[kColumns];
#pragma GCC unroll 8
    for (std::size_t c = 0; c < kColumns; ++c)
      columns[c] = load_some<kPartial>(b + c * kLanes, lanes);
#pragma GCC unroll 12
    for (std::size_t r = 0; r < kRows; ++r) {
      const float factor = a(r);
#pragma GCC unroll 8
      for (std::size_t c = 0; c < kColumns; ++c)
        sums[r][c] = multiply_add(columns[c], factor, sums[r][c]);
    }
  }

  RLSHARE_INLINE void finish(const Output& out, std::size_t i, std::size_t j) {
    if (out.bias)
      apply([&](Vector v, std::size_t, std::size_t c) {
        return v + load_some<kPartial>(out.bias + j + c * kLanes, lanes);
      });
    if (out.scale)
      apply([&](Vector v, std::size_t r, std::size_t) { return v * out.scale[i + r]; });
    if (out.magnitudes) add_magnitudes(out.magnitudes + j);
    if (out.activation == Activation::relu)
      apply([](Vector v, std::size_t, std::size_t) { return v < 0 ? Vector{} : v; });
    else if (out.activation == Activation::tanh)
      apply([](Vector v, std::size_t, std::size_t) { return tanh(v); });
    if (out.add)
      apply([&](Vector v, std::size_t r, std::size_t c) {
        return v + load_some<kPartial>(out.rows[i + r] + j + c * kLanes, lanes);
      });
#pragma GCC unroll 12
    for (std::size_t r = 0; r < kRows; ++r) write(out.rows[i + r] + j, r);
  }

  RLSHARE_INLINE void read(const float* from, std::size_t r) {
#pragma GCC unroll 8
    for (std::size_t c = 0; c < kColumns; ++c)
      sums[r][c] = load_some<kPartial>(from + c * kLanes, lanes);
  }

  RLSHARE_INLINE void write(float* to, std::size_t r) {
#pragma GCC unroll 8
    for (std::size_t c = 0; c < kColumns; ++c)
      store_some<kPartial>(to + c * kLanes, sums[r][c], lanes);
  }

 private:
  template <typename Function>
  RLSHARE_INLINE void apply(Function f) {
#pragma GCC unroll 12
    for (std::size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (std::size_t c = 0; c < kColumns; ++c) sums[r][c] = f(sums[r][c], r, c);
  }

  RLSHARE_INLINE void add_magnitudes(float* to) {
#pragma GCC unroll 8
    for (std::size_t c = 0; c < kColumns; ++c) {
      Vector sum = load_some<kPartial>(to + c * kLanes, lanes);
#pragma GCC unroll 12
      for (std::size_t r = 0; r < kRows; ++r) sum += abs(sums[r][c]);
      store_some<kPartial>(to + c * kLanes, sum, lanes);
    }
  }
};

// Lines that will be read after a panel, kColumns of them for every step of the inner index.
struct Ahead {
  const float* first;
  std::size_t step;
};

// Rows [i, i + kRows) and columns from j of a times b, whose first element of column j is at b.
// Where few rows use a panel, its products are waited for less than memory: the first block
// fetches.
template <bool kFetch>
struct Times {
  const float* const* a;
  std::size_t n;
  const float* b;
  std::size_t stride;
  const Output& out;
  Ahead ahead;

  template <std::size_t kRows, std::size_t kColumns, bool kPartial>
  void tile(std::size_t i, std::size_t j, std::size_t lanes) const {
    Tile<kRows, kColumns, kPartial> tile(lanes);
    const float* rows[kRows];
    for (std::size_t r = 0; r < kRows; ++r) rows[r] = a[i + r];
    const float* columns = b;
    const float* lines = ahead.first;
    for (std::size_t k = 0; k < n; ++k, columns += stride) {
      if (kFetch) {
#pragma GCC unroll 8
        for (std::size_t c = 0; c < kColumns; ++c) __builtin_prefetch(lines + c * kLanes, 0, 2);
        lines += ahead.step;
      }
      tile.add([&](std::size_t r) { return rows[r][k]; }, columns);
    }
    tile.finish(out, i, j);
  }
};

struct TransposeTimes {
  const float* const* a;
  const float* const* b;
  std::size_t n;
  float* out;
  std::size_t stride;
  bool resume;  // sums that out already holds

  template <std::size_t kRows, std::size_t kColumns, bool kPartial>
  void tile(std::size_t i, std::size_t j, std::size_t lanes) const {
    Tile<kRows, kColumns, kPartial> tile(lanes);
    if (resume)
      for (std::size_t r = 0; r < kRows; ++r) tile.read(out + (i + r) * stride + j, r);
    else
      for (std::size_t r = 0; r < kRows; ++r)
        for (std::size_t c = 0; c < kColumns; ++c)
          __builtin_prefetch(out + (i + r) * stride + j + c * kLanes, 1);
    for (std::size_t k = 0; k < n; ++k) {
      const float* column = a[k] + i;
      tile.add([&](std::size_t r) { return column[r]; }, b[k] + j);
    }
    for (std::size_t r = 0; r < kRows; ++r) tile.write(out + (i + r) * stride + j, r);
  }
};

template <std::size_t kRows, std::size_t kColumns, bool kPartial, typename Product>
void tile_of(const Product& product, std::size_t rows, std::size_t i, std::size_t j,
             std::size_t lanes) {
  if (rows == kRows) return product.template tile<kRows, kColumns, kPartial>(i, j, lanes);
  if constexpr (kRows > 1) tile_of<kRows - 1, kColumns, kPartial>(product, rows, i, j, lanes);
}

// Rows [begin, end) of a panel of columns, in blocks of nearly equal size.
template <std::size_t kColumns, bool kPartial, typename Product>
void panel_of(const Product& product, std::size_t begin, std::size_t end, std::size_t j,
              std::size_t lanes) {
  const std::size_t m = end - begin;
  constexpr std::size_t most =
      kAccumulators / kColumns < kMaxRows ? kAccumulators / kColumns : kMaxRows;
  const std::size_t n_blocks = (m + most - 1) / most;
  for (std::size_t block = 0; block < n_blocks; ++block) {
    const std::size_t i = begin + block * m / n_blocks;
    tile_of<most, kColumns, kPartial>(product, begin + (block + 1) * m / n_blocks - i, i, j, lanes);
  }
}

// The widest panel, in vectors, whose tiles hold all m rows, up to kAccumulators / 2 of them.
std::size_t width_for(std::size_t m) {
  return m <= kAccumulators / 8 ? 8 : m <= kAccumulators / 4 ? 4 : 2;
}

// panel(j, width, lanes) for panels of at most `widest` vectors that cover the columns.
template <typename Panel>
void panels(Columns columns, std::size_t widest, Panel panel) {
  std::size_t j = columns.begin, width = widest;
  while (j < columns.end) {
    while (width > 1 && columns.end - j < width * kLanes) width /= 2;
    const std::size_t left = columns.end - j;
    panel(j, width, left < kLanes ? left : kLanes);
    j += width * kLanes;
  }
}

template <typename Product>
void panel_of(const Product& product, std::size_t begin, std::size_t end, std::size_t j,
              std::size_t width, std::size_t lanes) {
  if (width == 8) return panel_of<8, false>(product, begin, end, j, lanes);
  if (width == 4) return panel_of<4, false>(product, begin, end, j, lanes);
  if (width == 2) return panel_of<2, false>(product, begin, end, j, lanes);
  if (lanes == kLanes) return panel_of<1, false>(product, begin, end, j, lanes);
  panel_of<1, true>(product, begin, end, j, lanes);
}

// With at most this many rows a panel is read once or a few times, where it lies.
constexpr std::size_t kFewRows = 3 * kMaxRows;

// to[k, c] = b[k, c], and the next panel fetched meanwhile.
void copy(Matrix b, std::size_t columns, std::size_t n, float* to) {
  for (std::size_t k = 0; k < n; ++k)
    for (std::size_t c = 0; c < columns; c += kLanes) {
      __builtin_prefetch(b.data + k * b.stride + columns + c, 0, 2);
      store(to + k * columns + c, load(b.data + k * b.stride + c));
    }
}

void times(const float* const* a, std::size_t m, std::size_t n, Matrix b, Columns columns,
           const Output& out, float* panel) {
  if (m == 0) return;
  panels(columns, width_for(m), [&](std::size_t j, std::size_t width, std::size_t lanes) {
    const Matrix from = {b.data + j, b.stride};
    const std::size_t n_columns = width * kLanes;
    if (m > kFewRows && lanes == kLanes) {
      copy(from, n_columns, n, panel);
      panel_of(Times<false>{a, n, panel, n_columns, out, {}}, 0, m, j, width, lanes);
    } else {
      const Ahead ahead = {from.data + n_columns, b.stride};
      panel_of(Times<true>{a, n, from.data, b.stride, out, ahead}, 0, m, j, width, lanes);
    }
  });
}

#if defined(__clang__)
template <int... i>
RLSHARE_INLINE Vector interleave(Vector a, Vector b, int first, std::integer_sequence<int, i...>) {
  constexpr int n = sizeof...(i);
  return first ? __builtin_shufflevector(a, b, (n / 2 + i / 2 + i % 2 * n)...)
               : __builtin_shufflevector(a, b, (i / 2 + i % 2 * n)...);
}
#else
template <int... i>
RLSHARE_INLINE Vector interleave(Vector a, Vector b, int first, std::integer_sequence<int, i...>) {
  constexpr int n = sizeof...(i);
  return first ? __builtin_shuffle(a, b, Integers{(n / 2 + i / 2 + i % 2 * n)...})
               : __builtin_shuffle(a, b, Integers{(i / 2 + i % 2 * n)...});
}
#endif

// A square of kLanes rows of b, transposed: rows i and i + kLanes / 2 riffled, log2(kLanes) times.
RLSHARE_INLINE void transpose_square(const float* b, std::size_t stride, float* to,
                                     std::size_t width) {
  using Lanes = std::make_integer_sequence<int, static_cast<int>(kLanes)>;
  Vector rows[kLanes], riffled[kLanes];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kLanes; ++i) rows[i] = load(b + i * stride);
#pragma GCC unroll 4
  for (std::size_t stage = 1; stage < kLanes; stage *= 2) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kLanes / 2; ++i) {
      riffled[2 * i] = interleave(rows[i], rows[i + kLanes / 2], 0, Lanes{});
      riffled[2 * i + 1] = interleave(rows[i], rows[i + kLanes / 2], 1, Lanes{});
    }
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kLanes; ++i) rows[i] = riffled[i];
  }
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kLanes; ++i) store(to + i * width, rows[i]);
}

// to[k, c] = b[c, k] for `columns` rows of b and n columns; to's rows are `columns` floats.
void transpose(Matrix b, std::size_t columns, std::size_t n, float* to) {
  const std::size_t whole_columns = columns - columns % kLanes, whole = n - n % kLanes;
  for (std::size_t k = 0; k < whole; k += kLanes)
    for (std::size_t c = 0; c < whole_columns; c += kLanes)
      transpose_square(b.data + c * b.stride + k, b.stride, to + k * columns + c, columns);
  for (std::size_t c = 0; c < columns; ++c)
    for (std::size_t k = c < whole_columns ? whole : 0; k < n; ++k)
      to[k * columns + c] = b.data[c * b.stride + k];
}

void times_transpose(const float* const* a, std::size_t m, std::size_t n, Matrix b, Columns columns,
                     const Output& out, float* panel) {
  if (m == 0) return;
  panels(columns, width_for(m), [&](std::size_t j, std::size_t width, std::size_t lanes) {
    const std::size_t n_columns = (width - 1) * kLanes + lanes;
    transpose({b.data + j * b.stride, b.stride}, n_columns, n, panel);
    if (m > kFewRows) {
      panel_of(Times<false>{a, n, panel, n_columns, out, {}}, 0, m, j, width, lanes);
    } else {
      const Ahead ahead = {b.data + (j + n_columns) * b.stride, n_columns};
      panel_of(Times<true>{a, n, panel, n_columns, out, ahead}, 0, m, j, width, lanes);
    }
  });
}

// So many inner rows of both operands fit the innermost cache.
constexpr std::size_t kRowsInCache = 128;

void transpose_times(const float* const* a, const float* const* b, std::size_t n, std::size_t m,
                     Columns columns, float* out, std::size_t stride) {
  const std::size_t widest = width_for(m), most = kAccumulators / widest;
  std::size_t k = 0;
  do {
    const std::size_t rows = n - k < kRowsInCache ? n - k : kRowsInCache;
    const TransposeTimes product = {a + k, b + k, rows, out, stride, k > 0};
    for (std::size_t i = 0; i < m; i += most)  // whole rows of the result in turn
      panels(columns, widest, [&](std::size_t j, std::size_t width, std::size_t lanes) {
        panel_of(product, i, m - i < most ? m : i + most, j, width, lanes);
      });
    k += rows;
  } while (k < n);
}

RLSHARE_INLINE float sum_of(Vector v) {
  float sum = 0;
  for (std::size_t i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

template <bool kPartial>
RLSHARE_INLINE Vector backward_some(Activation activation, const float* f, float* g, float scale,
                                    float* scaled, std::size_t lanes) {
  const Vector value = load_some<kPartial>(f, lanes), gradient = load_some<kPartial>(g, lanes);
  Vector inner = scale * gradient;
  if (activation == Activation::relu) inner = value > 0 ? inner : Vector{};
  if (activation == Activation::tanh) inner *= 1 - value * value;
  store_some<kPartial>(g, inner, lanes);
  store_some<kPartial>(scaled, scale * value, lanes);
  return gradient * value;
}

float backward(Activation activation, const float* f, float* g, float scale, float* scaled,
               std::size_t n) {
  Vector sum = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    sum += backward_some<false>(activation, f + i, g + i, scale, scaled + i, kLanes);
  if (i < n) sum += backward_some<true>(activation, f + i, g + i, scale, scaled + i, n - i);
  return sum_of(sum);
}

float dot(const float* a, const float* b, std::size_t n) {
  Vector sum = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum += load(a + i) * load(b + i);
  if (i < n) sum += load(a + i, n - i) * load(b + i, n - i);
  return sum_of(sum);
}

}  // namespace

RLSHARE_DEFINE_TABLE(Products, products) = {times, times_transpose, transpose_times, backward, dot};

}  // namespace rlshare
