// Which build of the kernels runs: for the widest instruction set the machine has, or for the one
// forced by a test. Every topic compiles its kernels once for each and picks its table by isa().
#pragma once

#include <string>
#include <vector>

namespace rlshare {

enum class Isa { scalar, avx2, avx512 };

Isa isa();
std::string isa_name();
std::vector<std::string> supported_isas();
// Throws std::invalid_argument for an instruction set this machine lacks; "" returns to the widest.
void force_isa(const std::string& name);

}  // namespace rlshare
