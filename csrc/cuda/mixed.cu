// SPDX-License-Identifier: BSD-3-Clause
// The passes over spectra in half precision, as kernels.
#include "cuda/device.hpp"
#include "cuda/engine_table.hpp"
#include "cuda/launch.cuh"

namespace otfuse::cuda {

template <>
MixedEngine<float> device_mixed<float>() {
  return mixed_engine<float, &device_launch, &device_step<float>>();
}

template <>
MixedEngine<double> device_mixed<double>() {
  return mixed_engine<double, &device_launch, &device_step<double>>();
}

}  // namespace otfuse::cuda
