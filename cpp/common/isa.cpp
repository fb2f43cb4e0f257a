#include "isa.h"

#include <atomic>
#include <stdexcept>

namespace rlshare {
namespace {

constexpr const char* kNames[] = {"scalar", "avx2", "avx512"};

const char* name_of(Isa isa) { return kNames[static_cast<int>(isa)]; }

std::vector<Isa> detect() {
  std::vector<Isa> found = {Isa::scalar};
#if RLSHARE_X86_KERNELS
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("fma");
  if (avx2) found.push_back(Isa::avx2);
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    found.push_back(Isa::avx512);
#endif
  return found;
}

const std::vector<Isa>& supported() {
  static const std::vector<Isa> found = detect();
  return found;
}

std::atomic<Isa>& chosen() {
  static std::atomic<Isa> isa{supported().back()};
  return isa;
}

}  // namespace

Isa isa() { return chosen().load(std::memory_order_relaxed); }

std::string isa_name() { return name_of(isa()); }

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
  for (const Isa found : supported()) names.emplace_back(name_of(found));
  return names;
}

void force_isa(const std::string& name) {
  if (name.empty()) {
    chosen() = supported().back();
    return;
  }
  std::string names;
  for (const Isa found : supported()) {
    if (name == name_of(found)) {
      chosen() = found;
      return;
    }
    names += (names.empty() ? "" : ", ") + std::string(name_of(found));
  }
  throw std::invalid_argument("isa must be one of " + names + " on this machine, got " + name);
}

}  // namespace rlshare
