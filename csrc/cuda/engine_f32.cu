// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/device.hpp"
#include "cuda/engine_table.hpp"
#include "cuda/launch.cuh"

namespace otfuse::cuda {

template <>
const Engine<float>& device_engine<float>() {
  static constexpr auto engine = make_engine<float, &device_launch>();
  return engine;
}

}  // namespace otfuse::cuda
