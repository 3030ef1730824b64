// SPDX-License-Identifier: BSD-3-Clause
// The networks' kernels for otfuse._host_kernels.
#include "bind/host_networks.hpp"

#include "cuda/rln.hpp"
#include "cuda/spectral_mix.hpp"
#include "cuda/thin_network.hpp"

namespace otfuse {
namespace {

HostLaunch host_launch(const cuda::Queue& q) { return {q.handle != 0, q.limits}; }

constexpr auto kThinF32 = cuda::make_thin_engine<float, &host_launch>();
constexpr auto kThinF64 = cuda::make_thin_engine<double, &host_launch>();
constexpr auto kSpectralF32 = cuda::make_spectral_engine<float, &host_launch>();
constexpr auto kSpectralF64 = cuda::make_spectral_engine<double, &host_launch>();
constexpr auto kRln = cuda::make_rln_engine<&host_launch>();

}  // namespace

NetworkEngines host_networks() {
  return {kThinF32, kThinF64, kSpectralF32, kSpectralF64, kRln};
}

}  // namespace otfuse
