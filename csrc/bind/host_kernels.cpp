// SPDX-License-Identifier: BSD-3-Clause
// otfuse._host_kernels, for tests: the bodies of the CUDA kernels as loops on the host.
// It takes Field objects of otfuse._C, which has to be imported first.
#include "bind/host_engines.hpp"
#include "bind/kernels.hpp"
#include "bind/network_kernels.hpp"
#include "cuda/half.hpp"
#include "cuda/rln.hpp"

namespace {

constexpr auto kRln = otfuse::cuda::make_rln_engine<&otfuse::host_launch>();

}  // namespace

PYBIND11_MODULE(_host_kernels, m) {
  using namespace otfuse;
  m.doc() = "The CUDA kernels' bodies, run on the host: for tests.";
  bind_kernels(m, {host_engine<float>(), host_engine<double>()});
  bind_network_kernels(m, {host_thin<float>(), host_thin<double>(),
                           host_spectral<float>(), host_spectral<double>(), kRln});
  m.def(
      "round_to_half", [](float v) { return cuda::from_half(cuda::to_half(v)); },
      "What is left of a number in half precision.");
}
