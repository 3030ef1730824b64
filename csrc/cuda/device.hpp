// SPDX-License-Identifier: BSD-3-Clause
// The engine that runs on a device, and what devices there are.
#pragma once

#include "cuda/engine.hpp"

namespace otfuse::cuda {

template <class real_t>
const Engine<real_t>& device_engine();

int device_count();  // 0 without a driver
int64_t shared_bytes(int device);

}  // namespace otfuse::cuda
