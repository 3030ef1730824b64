// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/conv_thin.hpp"
#include "cpu/pixel_mlp.hpp"
#include "cpu/thin_engine.hpp"

namespace otfuse {
inline namespace OTFUSE_ISA {
extern const ThinEngine<double> thin_f64;
const ThinEngine<double> thin_f64 = {conv_thin<double>, pixel_mlp<double>};
}  // namespace OTFUSE_ISA
}  // namespace otfuse
