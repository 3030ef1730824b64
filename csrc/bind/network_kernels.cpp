// SPDX-License-Identifier: BSD-3-Clause
#include "bind/network_kernels.hpp"

#include "bind/kernels.hpp"
#include "bind/thin_jobs.hpp"
#include "cuda/thin_sums.hpp"

namespace py = pybind11;

namespace otfuse {
namespace {

// f(engine of the job's precision, a zero of it)
template <class Job, class F>
auto with_thin(const NetworkEngines& e, const Job& job, F f) {
  return job.is_double ? f(e.thin_f64, 0.0) : f(e.thin_f32, 0.0f);
}

void bind_thin_kernels(py::module_& m, const NetworkEngines& e) {
  m.attr("most_thin_sources") = cuda::ThinInputs<float>::kMost;
  m.def(
      "conv_thin",
      [e](const AnyConvThin& job, const AnyQueue& queue) {
        with_thin(e, job, [&]<class real_t>(const auto& engine, real_t) {
          engine.conv_thin(job.params<real_t>(1), queue);
        });
      },
      "Convolution of few channels, zeros beyond the edges.");
  m.def(
      "pixel_mlp_bytes",
      [e](const AnyPixelMlp& job) {
        return with_thin(e, job, [&]<class real_t>(const auto& engine, real_t) {
          return engine.pixel_mlp_bytes(job.params<real_t>(1));
        });
      },
      "Shared memory that a block of it takes.");
  m.def(
      "pixel_mlp",
      [e](const AnyPixelMlp& job, const AnyQueue& queue) {
        with_thin(e, job, [&]<class real_t>(const auto& engine, real_t) {
          engine.pixel_mlp(job.params<real_t>(1), queue);
        });
      },
      "Dense layers on the channels of every pixel.");
  m.def(
      "thin_network_bytes",
      [e](const AnyThinNetwork& job) {
        const ThinProgram program(job.code);
        return with_thin(e, job, [&]<class real_t>(const auto& engine, real_t) {
          return engine.thin_network_bytes(job.params<real_t>(program, 1));
        });
      },
      "Workspace of a program.");
  m.def(
      "thin_network",
      [e](const AnyThinNetwork& job, uintptr_t workspace, const AnyQueue& queue) {
        py::gil_scoped_release release;
        const ThinProgram program(job.code);
        with_thin(e, job, [&]<class real_t>(const auto& engine, real_t) {
          engine.thin_network(job.params<real_t>(program, 1), to_pointer<void>(workspace),
                              queue);
        });
      },
      "A program of thin-channel layers on images.");
}

template <class F>
auto with_spectral(const NetworkEngines& e, bool is_double, F f) {
  return is_double ? f(e.spectral_f64, 0.0) : f(e.spectral_f32, 0.0f);
}

void bind_spectral_kernels(py::module_& m, const NetworkEngines& e) {
  m.def(
      "spectral_mix",
      [e](bool is_double, Triple grid, int64_t batch, int64_t outs, int64_t ins,
          const AnyField& x, uintptr_t symbol, bool adjoint, const AnyField& out,
          std::array<uintptr_t, 3> tables, uintptr_t workspace, const AnyQueue& queue) {
        with_spectral(e, is_double, [&]<class real_t>(const auto& engine, real_t) {
          engine.mix({to_extents(grid),
                      batch,
                      outs,
                      ins,
                      to_field<const real_t>(x),
                      to_pointer<const real_t>(symbol),
                      adjoint,
                      to_field<real_t>(out),
                      {},
                      nullptr,
                      1},
                     to_tables(tables), to_pointer<void>(workspace), queue);
        });
      },
      "Channels mixed at every frequency.");
  m.def(
      "spectral_mix_symbol",
      [e](bool is_double, Triple grid, int64_t batch, int64_t outs, int64_t ins,
          const AnyField& x, const AnyField& grad_y, uintptr_t grad_symbol,
          std::array<uintptr_t, 3> tables, uintptr_t workspace, const AnyQueue& queue) {
        with_spectral(e, is_double, [&]<class real_t>(const auto& engine, real_t) {
          engine.mix_symbol({to_extents(grid),
                             batch,
                             outs,
                             ins,
                             to_field<const real_t>(x),
                             nullptr,
                             false,
                             {},
                             to_field<const real_t>(grad_y),
                             to_pointer<real_t>(grad_symbol),
                             1},
                            to_tables(tables), to_pointer<void>(workspace), queue);
        });
      },
      "Its derivative in the symbol.");
}

RlnParams rln_params(Triple extent, int64_t batch, int views) {
  RlnParams p{};
  p.extent = to_extents(extent);
  p.batch = batch;
  p.views = views;
  return p;
}

void bind_rln_kernels(py::module_& m, const NetworkEngines& e) {
  m.def(
      "rln_bytes",
      [e](Triple extent, int64_t batch, int views) {
        return e.rln.bytes(rln_params(extent, batch, views));
      },
      "Workspace of the Richardson-Lucy Network.");
  m.def(
      "rln",
      [e](Triple extent, int64_t batch, int views, uintptr_t image, uintptr_t weights,
          int64_t n_weights, float denominator, uintptr_t out, uintptr_t workspace,
          const AnyQueue& queue) {
        RlnParams p = rln_params(extent, batch, views);
        p.image = to_pointer<const float>(image);
        p.weights = to_pointer<const float>(weights);
        p.n_weights = n_weights;
        p.denominator = denominator;
        p.out = to_pointer<float>(out);
        e.rln.run(p, to_pointer<void>(workspace), queue);
      },
      "The Richardson-Lucy Network over a batch of volumes.");
}

}  // namespace

void bind_network_kernels(py::module_& m, const NetworkEngines& engines) {
  bind_thin_kernels(m, engines);
  bind_spectral_kernels(m, engines);
  bind_rln_kernels(m, engines);
}

}  // namespace otfuse
