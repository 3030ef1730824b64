// SPDX-License-Identifier: BSD-3-Clause
// The bindings of an engine of kernels: the device's, and in tests the host's that plays
// one.
#pragma once

#include <pybind11/pybind11.h>

#include "cuda/engine.hpp"

namespace otfuse {

struct KernelEngines {
  const cuda::Engine<float>& f32;
  const cuda::Engine<double>& f64;
};

void bind_kernels(pybind11::module_& m, const KernelEngines& engines);

}  // namespace otfuse
