// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/spectral_mix.hpp"

#include "cuda/launch.cuh"

namespace otfuse::cuda {

template <>
const SpectralEngine<double>& device_spectral<double>() {
  static constexpr auto engine = make_spectral_engine<double, &device_launch>();
  return engine;
}

}  // namespace otfuse::cuda
