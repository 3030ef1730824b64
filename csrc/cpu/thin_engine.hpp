// SPDX-License-Identifier: BSD-3-Clause
// The launchers of the thin-channel convolutions of one instruction set, as a table.
#pragma once

#include "core/thin_program.hpp"

namespace otfuse {

template <class real_t>
struct ThinEngine {
  void (*conv_thin)(const ConvThinParams<real_t>&);
  void (*pixel_mlp)(const PixelMlpParams<real_t>&);
  void (*thin_network)(const ThinNetworkParams<real_t>&);
};

// That of the instruction set in force; see engine().
template <class real_t>
const ThinEngine<real_t>& thin_engine();

}  // namespace otfuse
