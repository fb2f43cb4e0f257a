#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../common/isa.h"
#include "../common/thread_pool.h"

void register_codes(pybind11::module_& m);
void register_forest(pybind11::module_& m);
void register_growing(pybind11::module_& m);
void register_linear(pybind11::module_& m);
void register_moe(pybind11::module_& m);
void register_refitting(pybind11::module_& m);

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled core of rlshare.";
  m.def("supported_isas", &rlshare::supported_isas);
  m.def("force_isa", &rlshare::force_isa);
  m.def("active_isa", &rlshare::isa_name);
  m.def("available_threads", &rlshare::available_threads);
  register_codes(m);
  register_forest(m);
  register_growing(m);
  register_linear(m);
  register_moe(m);
  register_refitting(m);
}
