// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <stdexcept>

namespace otfuse {

// What the CUDA runtime says went wrong; a RuntimeError in Python.
struct CudaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace otfuse
