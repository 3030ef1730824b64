// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/engine_table.hpp"

namespace otfuse {
inline namespace OTFUSE_ISA {
extern const Engine<float> engine_f32;
const Engine<float> engine_f32 = make_engine<float>();
}  // namespace OTFUSE_ISA
}  // namespace otfuse
