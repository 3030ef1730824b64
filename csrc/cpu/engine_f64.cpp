// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/engine_table.hpp"

namespace otfuse {
inline namespace OTFUSE_ISA {
extern const Engine<double> engine_f64;
const Engine<double> engine_f64 = make_engine<double>();
}  // namespace OTFUSE_ISA
}  // namespace otfuse
