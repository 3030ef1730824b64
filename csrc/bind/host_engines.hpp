// SPDX-License-Identifier: BSD-3-Clause
// The kernels' bodies as loops on the host; each precision is compiled by itself.
#pragma once

#include "cuda/network_engine.hpp"

namespace otfuse {

inline HostLaunch host_launch(const cuda::Queue& q) { return {q.handle != 0, q.limits}; }

template <class real_t>
const cuda::Engine<real_t>& host_engine();
template <class real_t>
const cuda::ThinEngine<real_t>& host_thin();
template <class real_t>
const cuda::SpectralEngine<real_t>& host_spectral();

}  // namespace otfuse
