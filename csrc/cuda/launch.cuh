// SPDX-License-Identifier: BSD-3-Clause
// A body in phases (core/phases.hpp) as a kernel: block.phase is the thread's share and a
// barrier.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "core/phases.hpp"
#include "cuda/engine.hpp"
#include "cuda/error.hpp"

namespace otfuse::cuda {

#define OTFUSE_CUDA_CHECK(call)                                                       \
  do {                                                                                \
    const cudaError_t status = (call);                                                \
    if (status != cudaSuccess) {                                                      \
      throw CudaError(std::string(__FILE__) + ":" + std::to_string(__LINE__) + ": " + \
                      #call + ": " + cudaGetErrorString(status));                     \
    }                                                                                 \
  } while (false)

// A thread's value, in its registers as long as its indices are constants.
template <class T>
struct DeviceOwn {
  T value;
  __device__ __forceinline__ T& operator()(int) { return value; }
};

class DeviceBlock {
 public:
  int64_t index;
  std::byte* memory;

  __device__ std::byte* shared() const { return memory; }

  template <class T>
  __device__ __forceinline__ DeviceOwn<T> own() const {
    return {};
  }

  template <class F>
  __device__ __forceinline__ void phase(F f) const {
    f(static_cast<int>(threadIdx.x));
    __syncthreads();
  }
};

template <class Body>
__global__ void __launch_bounds__(Body::kThreads, Body::kBlocksPerMultiprocessor)
    phase_kernel(const __grid_constant__ Body body) {
  extern __shared__ __align__(16) std::byte dynamic_shared[];
  DeviceBlock block{static_cast<int64_t>(blockIdx.x), dynamic_shared};
  body(block);
}

struct DeviceLaunch {
  cudaStream_t stream;
  Limits limits;

  template <class Body>
  void operator()(const Body& body, int64_t blocks, int64_t shared_bytes) const {
    if (blocks == 0) return;
    constexpr int64_t kWithoutAsking = 48 << 10;
    if (shared_bytes > kWithoutAsking) {
      OTFUSE_CUDA_CHECK(cudaFuncSetAttribute(phase_kernel<Body>,
                                             cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             static_cast<int>(shared_bytes)));
    }
    phase_kernel<Body><<<static_cast<unsigned>(blocks), Body::kThreads,
                         static_cast<size_t>(shared_bytes), stream>>>(body);
    OTFUSE_CUDA_CHECK(cudaGetLastError());
  }
};

inline DeviceLaunch device_launch(const Queue& q) {
  return {reinterpret_cast<cudaStream_t>(q.handle), q.limits};
}

}  // namespace otfuse::cuda
