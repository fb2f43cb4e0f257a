#include "../common/isa.h"
#include "kernels.h"

namespace rlshare {

extern const Kernels kernels_scalar;
#if RLSHARE_X86_KERNELS
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

const Kernels& kernels() {
  switch (isa()) {
#if RLSHARE_X86_KERNELS
    case Isa::avx2:
      return kernels_avx2;
    case Isa::avx512:
      return kernels_avx512;
#endif
    default:
      return kernels_scalar;
  }
}

}  // namespace rlshare
