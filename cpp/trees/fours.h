// Four floats at a time, for kernels (see per_isa.h): private to each of their builds.
#pragma once

namespace rlshare {
namespace {

typedef float Float4 __attribute__((vector_size(16), aligned(4), may_alias));

inline void add4(float* to, const float* from) {
  *reinterpret_cast<Float4*>(to) += *reinterpret_cast<const Float4*>(from);
}

}  // namespace
}  // namespace rlshare
