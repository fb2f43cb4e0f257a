// Which build of the kernels runs: the widest the machine has, or the one forced by a test.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace rlshare {

const Kernels& kernels();
std::vector<std::string> supported_isas();
// Throws std::invalid_argument for an instruction set this machine lacks; "" returns to the widest.
void force_isa(const std::string& name);

}  // namespace rlshare
