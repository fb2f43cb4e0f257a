// Tables of kernels, one for each instruction set. The source that is compiled once per set gives
// its table with RLSHARE_DEFINE_TABLE(Table, name) = {...}; RLSHARE_CHOOSE_TABLE(Table, name), in a
// source that is compiled once and includes isa.h, defines `const Table& name()`, which returns
// that of the set in use.
#pragma once

#define RLSHARE_TABLE_OF_(name, isa) name##_##isa
#define RLSHARE_TABLE_OF(name, isa) RLSHARE_TABLE_OF_(name, isa)
#define RLSHARE_DEFINE_TABLE(Table, name)                 \
  extern const Table RLSHARE_TABLE_OF(name, RLSHARE_ISA); \
  const Table RLSHARE_TABLE_OF(name, RLSHARE_ISA)

#if RLSHARE_X86_KERNELS
#define RLSHARE_CHOOSE_TABLE(Table, name)                       \
  extern const Table name##_scalar, name##_avx2, name##_avx512; \
  const Table& name() {                                         \
    switch (isa()) {                                            \
      case Isa::avx2:                                           \
        return name##_avx2;                                     \
      case Isa::avx512:                                         \
        return name##_avx512;                                   \
      default:                                                  \
        return name##_scalar;                                   \
    }                                                           \
  }
#else
#define RLSHARE_CHOOSE_TABLE(Table, name) \
  extern const Table name##_scalar;       \
  const Table& name() { return name##_scalar; }
#endif
