// SPDX-License-Identifier: BSD-3-Clause
// otfuse._host_kernels, for tests: the bodies of the CUDA kernels as loops on the host.
// It takes Field objects of otfuse._C, which has to be imported first.
#include "bind/host_networks.hpp"
#include "bind/kernels.hpp"
#include "cuda/engine_table.hpp"

namespace {

otfuse::HostLaunch host_launch(const otfuse::cuda::Queue& q) {
  return {q.handle != 0, q.limits};
}

constexpr auto kF32 = otfuse::cuda::make_engine<float, &host_launch>();
constexpr auto kF64 = otfuse::cuda::make_engine<double, &host_launch>();

}  // namespace

PYBIND11_MODULE(_host_kernels, m) {
  m.doc() = "The CUDA kernels' bodies, run on the host: for tests.";
  otfuse::bind_kernels(m, {kF32, kF64});
  otfuse::bind_network_kernels(m, otfuse::host_networks());
  m.def(
      "round_to_half",
      [](float v) { return otfuse::cuda::from_half(otfuse::cuda::to_half(v)); },
      "What is left of a number in half precision.");
}
