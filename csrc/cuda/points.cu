// SPDX-License-Identifier: BSD-3-Clause
// Operations on whole arrays, as kernels; OTFUSE_REAL is the precision.
#include "cuda/device.hpp"
#include "cuda/engine_table.hpp"
#include "cuda/launch.cuh"

namespace otfuse::cuda {

template <>
PointEngine<OTFUSE_REAL> device_points<OTFUSE_REAL>() {
  return point_engine<OTFUSE_REAL, &device_launch>();
}

}  // namespace otfuse::cuda
