// SPDX-License-Identifier: BSD-3-Clause
// A body in phases (core/phases.hpp) as a kernel: block.phase is the thread's share and a
// barrier.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <atomic>
#include <limits>
#include <stdexcept>
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

// Lets a kernel have all the shared memory of the current device; asked for once on each.
// Static because kernels are: two files that have the same one have one each, and the
// linker would keep one of these functions for both.
template <class Body>
static void allow_shared(const Limits& limits) {
  constexpr int kMostDevices = 64;
  static std::array<std::atomic<bool>, kMostDevices> allowed{};
  int device = 0;
  OTFUSE_CUDA_CHECK(cudaGetDevice(&device));
  if (device < kMostDevices && allowed[static_cast<size_t>(device)]) return;
  OTFUSE_CUDA_CHECK(cudaFuncSetAttribute(phase_kernel<Body>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         static_cast<int>(limits.shared_bytes)));
  if (device < kMostDevices) allowed[static_cast<size_t>(device)] = true;
}

struct DeviceLaunch {
  cudaStream_t stream;
  Limits limits;

  template <class Body>
  void operator()(const Body& body, int64_t blocks, int64_t shared_bytes) const {
    constexpr int64_t kMostBlocks = std::numeric_limits<int>::max();
    constexpr int64_t kWithoutAsking = 48 << 10;
    if (blocks == 0) return;
    if (blocks > kMostBlocks) {
      throw std::invalid_argument("launch: blocks must be at most " +
                                  std::to_string(kMostBlocks) + ", got " +
                                  std::to_string(blocks) + "; divide the batch");
    }
    if (shared_bytes > kWithoutAsking) allow_shared<Body>(limits);
    phase_kernel<Body><<<static_cast<unsigned>(blocks), Body::kThreads,
                         static_cast<size_t>(shared_bytes), stream>>>(body);
    OTFUSE_CUDA_CHECK(cudaGetLastError());
  }
};

inline DeviceLaunch device_launch(const Queue& q) {
  return {reinterpret_cast<cudaStream_t>(q.handle), q.limits};
}

}  // namespace otfuse::cuda
