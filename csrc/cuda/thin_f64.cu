// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/thin_network.hpp"

#include "cuda/launch.cuh"

namespace otfuse::cuda {

template <>
const ThinEngine<double>& device_thin<double>() {
  static constexpr auto engine = make_thin_engine<double, &device_launch>();
  return engine;
}

}  // namespace otfuse::cuda
