// SPDX-License-Identifier: BSD-3-Clause
// Images that stay in shared memory, as kernels; OTFUSE_REAL is the precision.
#include "cuda/device.hpp"
#include "cuda/engine_table.hpp"
#include "cuda/launch.cuh"

namespace otfuse::cuda {

template <>
TileEngine<OTFUSE_REAL> device_tiles<OTFUSE_REAL>() {
  return tile_engine<OTFUSE_REAL, &device_launch, &device_step<OTFUSE_REAL>>();
}

}  // namespace otfuse::cuda
