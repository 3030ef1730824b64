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

template <>
void device_step<OTFUSE_REAL>(const RichardsonLucyParams<OTFUSE_REAL>& p, LoopStep step,
                              int64_t i, OTFUSE_REAL* values, void* workspace,
                              const Queue& q) {
  step_in_space<OTFUSE_REAL, &device_launch>(p, step, i, values, workspace, q);
}

}  // namespace otfuse::cuda
