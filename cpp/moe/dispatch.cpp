#include "../common/isa.h"
#include "../common/per_isa.h"
#include "products.h"

namespace rlshare {

RLSHARE_CHOOSE_TABLE(Products, products)

}  // namespace rlshare
