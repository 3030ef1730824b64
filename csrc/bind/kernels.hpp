// SPDX-License-Identifier: BSD-3-Clause
// The bindings of an engine of kernels: the device's, and in tests the host's that plays
// one.
#pragma once

#include <pybind11/pybind11.h>

#include "bind/convert.hpp"
#include "cuda/engine.hpp"

namespace otfuse {

// Where work is queued, as Python names it.
struct AnyQueue {
  uintptr_t handle;
  int64_t shared_bytes;
  operator cuda::Queue() const { return {handle, {shared_bytes}}; }
};

inline cuda::Tables to_tables(const std::array<uintptr_t, 3>& t) {
  return {to_pointer<void>(t[0]), to_pointer<void>(t[1]), to_pointer<void>(t[2])};
}

struct KernelEngines {
  const cuda::Engine<float>& f32;
  const cuda::Engine<double>& f64;
};

void bind_kernels(pybind11::module_& m, const KernelEngines& engines);

}  // namespace otfuse
