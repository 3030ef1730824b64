// SPDX-License-Identifier: BSD-3-Clause
// The engines of one precision, OTFUSE_REAL, for otfuse._host_kernels.
#include "bind/host_engines.hpp"

#include "cuda/engine_table.hpp"
#include "cuda/spectral_mix.hpp"
#include "cuda/thin_network.hpp"

namespace otfuse {

template <>
const cuda::Engine<OTFUSE_REAL>& host_engine<OTFUSE_REAL>() {
  static constexpr auto engine = cuda::make_engine<OTFUSE_REAL, &host_launch>();
  return engine;
}

template <>
const cuda::ThinEngine<OTFUSE_REAL>& host_thin<OTFUSE_REAL>() {
  static constexpr auto engine = cuda::make_thin_engine<OTFUSE_REAL, &host_launch>();
  return engine;
}

template <>
const cuda::SpectralEngine<OTFUSE_REAL>& host_spectral<OTFUSE_REAL>() {
  static constexpr auto engine = cuda::make_spectral_engine<OTFUSE_REAL, &host_launch>();
  return engine;
}

}  // namespace otfuse
