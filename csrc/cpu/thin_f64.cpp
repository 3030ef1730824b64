// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/thin_engine.hpp"
#include "cpu/thin_network.hpp"

namespace otfuse {
inline namespace OTFUSE_ISA {
extern const ThinEngine<double> thin_f64;
const ThinEngine<double> thin_f64 = {conv_thin<double>, pixel_mlp<double>,
                                     thin_network<double>};
}  // namespace OTFUSE_ISA
}  // namespace otfuse
