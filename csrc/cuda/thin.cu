// SPDX-License-Identifier: BSD-3-Clause
// Thin-channel layers, as kernels; OTFUSE_REAL is the precision.
#include "cuda/launch.cuh"
#include "cuda/thin_network.hpp"

namespace otfuse::cuda {

template <>
const ThinEngine<OTFUSE_REAL>& device_thin<OTFUSE_REAL>() {
  static constexpr auto engine = make_thin_engine<OTFUSE_REAL, &device_launch>();
  return engine;
}

}  // namespace otfuse::cuda
