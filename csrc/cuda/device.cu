// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/device.hpp"

#include "cuda/launch.cuh"

namespace otfuse::cuda {

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

int64_t shared_bytes(int device) {
  int bytes = 0;
  OTFUSE_CUDA_CHECK(
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return bytes;
}

}  // namespace otfuse::cuda
