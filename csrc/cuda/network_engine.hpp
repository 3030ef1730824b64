// SPDX-License-Identifier: BSD-3-Clause
// The launchers of the networks' kernels as tables, for the device and, in tests, for the
// host that plays it; see cuda/engine.hpp.
#pragma once

#include "core/rln_params.hpp"
#include "core/thin_program.hpp"
#include "cuda/engine.hpp"

namespace otfuse::cuda {

template <class real_t>
struct ThinEngine {
  void (*conv_thin)(const ConvThinParams<real_t>&, const Queue&);
  int64_t (*pixel_mlp_bytes)(const PixelMlpParams<real_t>&);  // shared memory of a block
  void (*pixel_mlp)(const PixelMlpParams<real_t>&, const Queue&);
  int64_t (*thin_network_bytes)(const ThinNetworkParams<real_t>&);
  void (*thin_network)(const ThinNetworkParams<real_t>&, void* workspace, const Queue&);
};

template <class real_t>
struct SpectralEngine {  // workspace: a spectrum for every image that comes in or out
  void (*mix)(const SpectralMixParams<real_t>&, const Tables&, void* workspace,
              const Queue&);
  void (*mix_symbol)(const SpectralMixParams<real_t>&, const Tables&, void* workspace,
                     const Queue&);
};

struct RlnEngine {
  int64_t (*bytes)(const RlnParams&);
  void (*run)(const RlnParams&, void* workspace, const Queue&);
};

template <class real_t>
const ThinEngine<real_t>& device_thin();
template <class real_t>
const SpectralEngine<real_t>& device_spectral();
const RlnEngine& device_rln();

}  // namespace otfuse::cuda
