// SPDX-License-Identifier: BSD-3-Clause
// The families of bindings that module.cpp lists.
#pragma once

#include <pybind11/pybind11.h>

namespace otfuse {

void bind_engine(pybind11::module_& m);
void bind_system(pybind11::module_& m);

}  // namespace otfuse
