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

RlnParams one_volume(Triple extent, int views, int threads) {
  RlnParams p{};
  p.extent = {extent[0], extent[1], extent[2]};
  p.batch = 1;
  p.views = views;
  p.threads = usable_threads(threads);
  return p;
}

int64_t rln_bytes(Triple extent, int views, int threads) {
  return engine<float>().rln_bytes(one_volume(extent, views, threads));
}

std::vector<std::array<int64_t, 4>> rln_strips(Triple extent, int views, int threads) {
  std::vector<std::array<int64_t, 4>> strips;
  for (const auto& [image, out] :
       engine<float>().rln_strips(one_volume(extent, views, threads))) {
    strips.push_back({image.begin, image.end, out.begin, out.end});
  }
  return strips;
}

void rln_some_strips(Triple extent, int views, int64_t begin, int64_t end,
                     uintptr_t image, uintptr_t weights, int64_t n_weights,
                     float denominator, uintptr_t memory, uintptr_t out, int threads) {
  RlnParams p = one_volume(extent, views, threads);
  p.image = reinterpret_cast<const float*>(image);
  p.weights = reinterpret_cast<const float*>(weights);
  p.n_weights = n_weights;
  p.denominator = denominator;
  p.out = reinterpret_cast<float*>(out);
  py::gil_scoped_release release;
  engine<float>().rln_some_strips(p, begin, end, reinterpret_cast<float*>(memory));
}

}  // namespace

void bind_rln(py::module_& m) {
  m.def("rln_cpu", &rln, "The Richardson-Lucy Network over a batch of volumes.");
  m.def("rln_bytes_cpu", &rln_bytes,
        "Bytes that it takes, image and result not counted.");
  m.def("rln_strips_cpu", &rln_strips,
        "First and end of the rows that each strip reads and makes.");
  m.def("rln_some_strips_cpu", &rln_some_strips,
        "Some strips of a volume, those before them done with the same memory.");
}

}  // namespace otfuse
