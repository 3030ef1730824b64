// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/conv_thin.hpp"
#include "cpu/pixel_mlp.hpp"
#include "cpu/thin_engine.hpp"

namespace otfuse {
inline namespace OTFUSE_ISA {
extern const ThinEngine<float> thin_f32;
const ThinEngine<float> thin_f32 = {conv_thin<float>, pixel_mlp<float>};
}  // namespace OTFUSE_ISA
}  // namespace otfuse
