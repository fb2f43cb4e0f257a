#include <pybind11/pybind11.h>

void register_trees(pybind11::module_& m);

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled core of rlshare.";
  register_trees(m);
}
