// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/stl.h>

#include "bind/bind.hpp"
#include "bind/convert.hpp"
#include "cpu/engine.hpp"
#include "cpu/workspace.hpp"

namespace otfuse {

void bind_system(pybind11::module_& m) {
  m.def("simd_level", &simd_level, "Instruction set in force.");
  m.def("simd_levels", &simd_levels, "Instruction sets of this processor, best first.");
  m.def("set_simd", &set_simd, pybind11::arg("level"),
        "Force an instruction set; spectra made before are no longer valid.");
  m.def("clear_workspaces", &clear_workspaces,
        "Give memory kept between calls back to the system; returns its bytes.");
  m.def(
      "use_huge_pages",
      [](uintptr_t data, size_t n_bytes) {
        use_huge_pages(to_pointer<void>(data), n_bytes);
      },
      "Ask for huge pages under fresh memory.");
}

}  // namespace otfuse
