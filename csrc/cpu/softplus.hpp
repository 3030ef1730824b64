// SPDX-License-Identifier: BSD-3-Clause
// ln(1 + e^t) of lanes, see core/activation.hpp.
#pragma once

#include "core/activation.hpp"
#include "cpu/simd.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class real_t>
OTFUSE_HD Lanes<real_t> softplus_of_lanes(const Lanes<real_t>& t) {
  return softplus<real_t, Words<real_t>>(t);
}

OTFUSE_HD Lanes<float> softplus(const Lanes<float>& t) {
  return softplus_of_lanes<float>(t);
}

OTFUSE_END_ISA_NAMESPACE
