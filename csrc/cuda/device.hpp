// SPDX-License-Identifier: BSD-3-Clause
// The engine that runs on a device, and what devices there are.
#pragma once

#include "cuda/engine.hpp"

namespace otfuse::cuda {

template <class real_t>
const Engine<real_t>& device_engine();

// Its parts, one source each, compiled once for each precision (OTFUSE_REAL).
template <class real_t>
PencilEngine<real_t> device_pencils();
template <class real_t>
MixedEngine<real_t> device_mixed();
template <class real_t>
TileEngine<real_t> device_tiles();
template <class real_t>
PointEngine<real_t> device_points();
template <class real_t>
void device_step(const RichardsonLucyParams<real_t>&, LoopStep, int64_t i, real_t* values,
                 void* workspace, const Queue&);

int device_count();  // 0 without a driver
int64_t shared_bytes(int device);

}  // namespace otfuse::cuda
