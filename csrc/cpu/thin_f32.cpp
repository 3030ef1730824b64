// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/thin_engine.hpp"
#include "cpu/thin_network.hpp"

namespace otfuse {
inline namespace OTFUSE_ISA {
extern const ThinEngine<float> thin_f32;
const ThinEngine<float> thin_f32 = {conv_thin<float>, pixel_mlp<float>,
                                    thin_network<float>};
}  // namespace OTFUSE_ISA
}  // namespace otfuse
