// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "bind/network_kernels.hpp"

namespace otfuse {

NetworkEngines host_networks();  // that play the device

}  // namespace otfuse
