// SPDX-License-Identifier: BSD-3-Clause
// Passes over spectra in device memory, as kernels; OTFUSE_REAL is the precision.
#include "cuda/device.hpp"
#include "cuda/engine_table.hpp"
#include "cuda/launch.cuh"

namespace otfuse::cuda {

template <>
PencilEngine<OTFUSE_REAL> device_pencils<OTFUSE_REAL>() {
  return pencil_engine<OTFUSE_REAL, &device_launch>();
}

}  // namespace otfuse::cuda
