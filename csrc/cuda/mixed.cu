// SPDX-License-Identifier: BSD-3-Clause
// The same with spectra in half precision, as kernels; OTFUSE_REAL is the precision.
#include "cuda/device.hpp"
#include "cuda/engine_table.hpp"
#include "cuda/launch.cuh"

namespace otfuse::cuda {

template <>
MixedEngine<OTFUSE_REAL> device_mixed<OTFUSE_REAL>() {
  return mixed_engine<OTFUSE_REAL, &device_launch>();
}

}  // namespace otfuse::cuda
