#include "isa.h"

#include <atomic>
#include <stdexcept>

namespace rlshare {

extern const Kernels kernels_scalar;
#if RLSHARE_X86_KERNELS
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

namespace {

std::vector<const Kernels*> detect() {
  std::vector<const Kernels*> found = {&kernels_scalar};
#if RLSHARE_X86_KERNELS
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
  if (avx2) found.push_back(&kernels_avx2);
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    found.push_back(&kernels_avx512);
#endif
  return found;
}

const std::vector<const Kernels*>& supported() {
  static const std::vector<const Kernels*> found = detect();
  return found;
}

std::atomic<const Kernels*>& chosen() {
  static std::atomic<const Kernels*> kernels{supported().back()};
  return kernels;
}

}  // namespace

const Kernels& kernels() { return *chosen().load(std::memory_order_relaxed); }

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
  for (const Kernels* k : supported()) names.emplace_back(k->name);
  return names;
}

void force_isa(const std::string& name) {
  if (name.empty()) {
    chosen() = supported().back();
    return;
  }
  std::string names;
  for (const Kernels* k : supported()) {
    if (name == k->name) {
      chosen() = k;
      return;
    }
    names += names.empty() ? k->name : std::string(", ") + k->name;
  }
  throw std::invalid_argument("isa must be one of " + names + " on this machine, got " + name);
}

}  // namespace rlshare
