// SPDX-License-Identifier: BSD-3-Clause
// Passes over spectra in device memory, as kernels, for the loop and for spectral_mix,
// which share most of them; OTFUSE_REAL is the precision.
#include "cuda/device.hpp"
#include "cuda/engine_table.hpp"
#include "cuda/launch.cuh"
#include "cuda/spectral_mix.hpp"

namespace otfuse::cuda {

template <>
PencilEngine<OTFUSE_REAL> device_pencils<OTFUSE_REAL>() {
  return pencil_engine<OTFUSE_REAL, &device_launch, &device_step<OTFUSE_REAL>>();
}

template <>
const SpectralEngine<OTFUSE_REAL>& device_spectral<OTFUSE_REAL>() {
  static constexpr auto engine = make_spectral_engine<OTFUSE_REAL, &device_launch>();
  return engine;
}

}  // namespace otfuse::cuda
