// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/device.hpp"
#include "cuda/engine_table.hpp"
#include "cuda/launch.cuh"

namespace otfuse::cuda {

template <>
const Engine<double>& device_engine<double>() {
  static constexpr auto engine = make_engine<double, &device_launch>();
  return engine;
}

}  // namespace otfuse::cuda
