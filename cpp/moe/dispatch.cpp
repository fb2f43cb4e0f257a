#include "../common/isa.h"
#include "products.h"

namespace rlshare {

extern const Products products_scalar;
#if RLSHARE_X86_KERNELS
extern const Products products_avx2;
extern const Products products_avx512;
#endif

const Products& products() {
  switch (isa()) {
#if RLSHARE_X86_KERNELS
    case Isa::avx2:
      return products_avx2;
    case Isa::avx512:
      return products_avx512;
#endif
    default:
      return products_scalar;
  }
}

}  // namespace rlshare
