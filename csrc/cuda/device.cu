// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/device.hpp"

#include "cuda/launch.cuh"

namespace otfuse::cuda {

template <class real_t>
const Engine<real_t>& device_engine() {
  static const Engine<real_t> engine{device_pencils<real_t>(), device_mixed<real_t>(),
                                     device_tiles<real_t>(), device_points<real_t>()};
  return engine;
}

template const Engine<float>& device_engine<float>();
template const Engine<double>& device_engine<double>();

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // or the next launch would be blamed for it
  return 0;
}

int64_t shared_bytes(int device) {
  int bytes = 0;
  OTFUSE_CUDA_CHECK(
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return bytes;
}

}  // namespace otfuse::cuda
