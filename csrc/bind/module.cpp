// SPDX-License-Identifier: BSD-3-Clause
#include "bind/bind.hpp"

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled core of otfuse: pointers, extents and strides in, no torch.";
  otfuse::bind_system(m);
  otfuse::bind_cuda(m);
  otfuse::bind_engine(m);
  otfuse::bind_rln(m);
  otfuse::bind_richardson_lucy(m);
  otfuse::bind_thin(m);
}
