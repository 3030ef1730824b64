// SPDX-License-Identifier: BSD-3-Clause
// _C.cuda: the kernels on a device; None where they were not built.
#include "bind/bind.hpp"
#if defined(OTFUSE_CUDA_ARCHITECTURES)
#include "bind/kernels.hpp"
#include "bind/network_kernels.hpp"
#include "cuda/device.hpp"
#endif

namespace otfuse {

void bind_cuda(pybind11::module_& m) {
#if defined(OTFUSE_CUDA_ARCHITECTURES)
  auto kernels = m.def_submodule("cuda", "The kernels on a CUDA device.");
  bind_kernels(kernels, {cuda::device_engine<float>(), cuda::device_engine<double>()});
  bind_network_kernels(kernels, {cuda::device_thin<float>(), cuda::device_thin<double>(),
                                 cuda::device_spectral<float>(),
                                 cuda::device_spectral<double>(), cuda::device_rln()});
  kernels.def("device_count", &cuda::device_count,
              "Devices that the driver offers; 0 where there is none.");
  kernels.def("shared_bytes", &cuda::shared_bytes, pybind11::arg("device"),
              "Shared memory that one block may have.");
  m.attr("cuda_architectures") = OTFUSE_CUDA_ARCHITECTURES;
#else
  m.attr("cuda") = pybind11::none();
  m.attr("cuda_architectures") = "";
#endif
}

}  // namespace otfuse
