// SPDX-License-Identifier: BSD-3-Clause
// The thin-channel convolutions: what is to be done, and the CPU's launchers.
#include "bind/bind.hpp"
#include "bind/thin_jobs.hpp"
#include "cpu/thin_engine.hpp"

namespace py = pybind11;

namespace otfuse {
namespace {

void bind_jobs(py::module_& m) {
  using Source = AnyConvThin::Source;
  py::class_<AnyConvThin>(m, "ConvThin", "A convolution of few channels.")
      .def(py::init<bool, int64_t, Triple, std::vector<Source>, std::optional<Source>,
                    int64_t, Triple, uintptr_t, uintptr_t, std::string, uintptr_t>());
  py::class_<AnyPixelMlp>(m, "PixelMlp", "Dense layers on the channels of every pixel.")
      .def(py::init<bool, int64_t, int64_t, uintptr_t, std::vector<AnyPixelMlp::Layer>,
                    uintptr_t>());
  py::class_<AnyThinNetwork>(m, "ThinNetwork", "A program of layers on images.")
      .def(py::init<bool, std::vector<int64_t>, std::vector<AnyThinNetwork::Parameter>,
                    int64_t, Triple, uintptr_t, std::vector<uintptr_t>>());
}

void conv_thin(const AnyConvThin& job, int threads) {
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  with_real(job.is_double, [&](auto zero) {
    using real_t = decltype(zero);
    thin_engine<real_t>().conv_thin(job.params<real_t>(threads));
  });
}

void pixel_mlp(const AnyPixelMlp& job, int threads) {
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  with_real(job.is_double, [&](auto zero) {
    using real_t = decltype(zero);
    thin_engine<real_t>().pixel_mlp(job.params<real_t>(threads));
  });
}

void thin_network(const AnyThinNetwork& job, int threads) {
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  const ThinProgram program(job.code);
  with_real(job.is_double, [&](auto zero) {
    using real_t = decltype(zero);
    thin_engine<real_t>().thin_network(job.params<real_t>(program, threads));
  });
}

}  // namespace

void bind_thin(py::module_& m) {
  bind_jobs(m);
  m.def("conv_thin_cpu", &conv_thin,
        "Convolution of few channels, zeros beyond the edges.");
  m.def("thin_network_cpu", &thin_network, "A program of thin-channel layers on images.");
  m.def("pixel_mlp_cpu", &pixel_mlp, "Dense layers on the channels of every pixel.");
}

}  // namespace otfuse
