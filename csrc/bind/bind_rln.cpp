// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/stl.h>

#include <array>

#include "bind/bind.hpp"
#include "cpu/engine.hpp"

namespace py = pybind11;

namespace otfuse {
namespace {

using Triple = std::array<int64_t, 3>;

void rln(Triple extent, int64_t batch, int views, uintptr_t image, uintptr_t weights,
         int64_t n_weights, float denominator, uintptr_t out, int threads) {
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  engine<float>().rln({{extent[0], extent[1], extent[2]},
                       batch,
                       views,
                       reinterpret_cast<const float*>(image),
                       reinterpret_cast<const float*>(weights),
                       n_weights,
                       denominator,
                       reinterpret_cast<float*>(out),
                       threads});
}

int64_t rln_bytes(Triple extent, int views, int threads) {
  RlnParams p{};
  p.extent = {extent[0], extent[1], extent[2]};
  p.views = views;
  p.threads = usable_threads(threads);
  return engine<float>().rln_bytes(p);
}

}  // namespace

void bind_rln(py::module_& m) {
  m.def("rln_cpu", &rln, "The Richardson-Lucy Network over a batch of volumes.");
  m.def("rln_bytes_cpu", &rln_bytes,
        "Bytes that it takes, image and result not counted.");
}

}  // namespace otfuse
