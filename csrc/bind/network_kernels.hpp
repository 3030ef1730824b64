// SPDX-License-Identifier: BSD-3-Clause
// The bindings of the networks' kernels: the device's, and in tests the host's that plays
// one. bind_kernels comes first: it knows what a queue is.
#pragma once

#include <pybind11/pybind11.h>

#include "cuda/network_engine.hpp"

namespace otfuse {

struct NetworkEngines {
  const cuda::ThinEngine<float>& thin_f32;
  const cuda::ThinEngine<double>& thin_f64;
  const cuda::SpectralEngine<float>& spectral_f32;
  const cuda::SpectralEngine<double>& spectral_f64;
  const cuda::RlnEngine& rln;
};

void bind_network_kernels(pybind11::module_& m, const NetworkEngines& engines);

}  // namespace otfuse
