#include "../common/isa.h"
#include "../common/per_isa.h"
#include "predict_kernels.h"
#include "split_kernels.h"

namespace rlshare {

RLSHARE_CHOOSE_TABLE(SplitKernels, split_kernels)
RLSHARE_CHOOSE_TABLE(PredictKernels, predict_kernels)

}  // namespace rlshare
