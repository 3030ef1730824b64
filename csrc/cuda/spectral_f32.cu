// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/spectral_mix.hpp"

#include "cuda/launch.cuh"

namespace otfuse::cuda {

template <>
const SpectralEngine<float>& device_spectral<float>() {
  static constexpr auto engine = make_spectral_engine<float, &device_launch>();
  return engine;
}

}  // namespace otfuse::cuda
