// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/thin_network.hpp"

#include "cuda/launch.cuh"

namespace otfuse::cuda {

template <>
const ThinEngine<float>& device_thin<float>() {
  static constexpr auto engine = make_thin_engine<float, &device_launch>();
  return engine;
}

}  // namespace otfuse::cuda
