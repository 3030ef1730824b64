// SPDX-License-Identifier: BSD-3-Clause
// The families of bindings that module.cpp lists.
#pragma once

#include <pybind11/pybind11.h>

namespace otfuse {

void bind_cuda(pybind11::module_& m);
void bind_engine(pybind11::module_& m);
void bind_rln(pybind11::module_& m);
void bind_richardson_lucy(pybind11::module_& m);
void bind_system(pybind11::module_& m);
void bind_thin(pybind11::module_& m);

// The threads that a call may use; throws in a forked child that cannot have them.
int usable_threads(int threads);

}  // namespace otfuse
