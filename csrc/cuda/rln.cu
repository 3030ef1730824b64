// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/rln.hpp"

#include "cuda/launch.cuh"

namespace otfuse::cuda {

const RlnEngine& device_rln() {
  static constexpr auto engine = make_rln_engine<&device_launch>();
  return engine;
}

}  // namespace otfuse::cuda
