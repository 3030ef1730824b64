// SPDX-License-Identifier: BSD-3-Clause
#include "bind/kernels.hpp"

#include "bind/loop.hpp"
#include "cuda/line_plan.hpp"

namespace py = pybind11;

namespace otfuse {
namespace {

// f(engine) of one precision
template <class F>
auto with_engine(const KernelEngines& e, bool is_double, F f) {
  return is_double ? f(e.f64) : f(e.f32);
}

template <class real_t>
RichardsonLucyParams<real_t> params_of(const cuda::Engine<real_t>&,
                                       const AnyRichardsonLucy& loop) {
  return loop.params<real_t>();
}

void bind_types(py::module_& m) {
  py::class_<AnyQueue>(m, "Queue", py::module_local(), "Where work is queued.")
      .def(py::init<uintptr_t, int64_t>(), py::arg("handle"), py::arg("shared_bytes"));
}

void bind_plans(py::module_& m, const KernelEngines& e) {
  m.def("has_line_plan", &cuda::has_line_plan, "Whether an extent has pencil passes.");
  m.def(
      "line_table",
      [](bool is_double, int64_t n) {
        return py::bytes(with_real(
            is_double, [&](auto zero) { return cuda::line_table<decltype(zero)>(n); }));
      },
      "Twiddles and positions of a line, for the memory of the device.");
  m.def(
      "tile_bytes",
      [e](bool is_double, Triple grid) {
        return with_engine(e, is_double, [&](auto& engine) {
          return engine.tile_bytes(to_extents(grid));
        });
      },
      "Shared memory of a block that keeps a whole image; 0: none does.");
  m.def(
      "otf_size", [](Triple grid) { return cuda::otf_size(to_extents(grid)); },
      "Reals of one OTF on a grid.");
}

void bind_convolution(py::module_& m, const KernelEngines& e) {
  m.def(
      "make_otf",
      [e](bool is_double, Triple grid, int64_t kernels, const AnyField& kernel,
          uintptr_t otf, std::array<uintptr_t, 3> tables, const AnyQueue& queue) {
        with_engine(e, is_double, [&]<class real_t>(const cuda::Engine<real_t>& engine) {
          engine.make_otf({to_extents(grid), kernels, to_field<const real_t>(kernel),
                           to_pointer<real_t>(otf), 1},
                          to_tables(tables), queue);
        });
      },
      "Kernels to OTFs.");
  m.def(
      "fft_convolve_bytes",
      [e](bool is_double, Triple grid, int64_t batch) {
        return with_engine(e, is_double, [&](auto& engine) {
          return engine.fft_convolve_bytes(to_extents(grid), batch);
        });
      },
      "Workspace of fft_convolve.");
  m.def(
      "fft_convolve",
      [e](bool is_double, Triple grid, int64_t batch, const AnyField& image,
          uintptr_t otf, int64_t kernels, int64_t inner, const AnyField& out,
          bool adjoint, bool tile, std::array<uintptr_t, 3> tables, uintptr_t workspace,
          const AnyQueue& queue) {
        with_engine(e, is_double, [&]<class real_t>(const cuda::Engine<real_t>& engine) {
          const FftConvolveParams<real_t> p{to_extents(grid),
                                            batch,
                                            to_field<const real_t>(image),
                                            to_pointer<const real_t>(otf),
                                            {kernels, inner},
                                            to_field<real_t>(out),
                                            adjoint,
                                            1};
          if (tile) return engine.fft_convolve_tile(p, to_tables(tables), queue);
          engine.fft_convolve(p, to_tables(tables), to_pointer<void>(workspace), queue);
        });
      },
      "Circular convolution of a batch on a grid.");
}

void bind_loop(py::module_& m, const KernelEngines& e) {
  m.def(
      "richardson_lucy_bytes",
      [e](bool is_double, const AnyRichardsonLucy& loop, int64_t stored) {
        return with_engine(
            e, is_double, [&]<class real_t>(const cuda::Engine<real_t>& engine) {
              return engine.richardson_lucy_bytes(loop.params<real_t>(), stored);
            });
      },
      "Workspace of the loop.");
  m.def(
      "richardson_lucy",
      [e](bool is_double, const AnyRichardsonLucy& loop, const std::string& tier,
          std::array<uintptr_t, 3> tables, uintptr_t workspace, const AnyQueue& queue) {
        py::gil_scoped_release release;
        with_engine(e, is_double, [&](auto& engine) {
          const auto run = tier == "tile"    ? engine.richardson_lucy_tile
                           : tier == "mixed" ? engine.richardson_lucy_mixed
                                             : engine.richardson_lucy;
          if (run == nullptr) {
            throw std::invalid_argument(
                "richardson_lucy: mixed precision must go with float32, got float64");
          }
          run(params_of(engine, loop), to_tables(tables), to_pointer<void>(workspace),
              queue);
        });
      },
      "The Richardson-Lucy loop of a batch.");
  py::enum_<cuda::LoopStep>(m, "LoopStep", py::module_local())
      .value("load", cuda::LoopStep::kLoad)
      .value("observe", cuda::LoopStep::kObserve)
      .value("weigh", cuda::LoopStep::kWeigh)
      .value("start", cuda::LoopStep::kStart)
      .value("compare", cuda::LoopStep::kCompare)
      .value("update", cuda::LoopStep::kUpdate)
      .value("store", cuda::LoopStep::kStore);
  m.def(
      "richardson_lucy_step",
      [e](bool is_double, const AnyRichardsonLucy& loop, cuda::LoopStep step, int64_t i,
          uintptr_t values, uintptr_t workspace, const AnyQueue& queue) {
        with_engine(e, is_double, [&]<class real_t>(const cuda::Engine<real_t>& engine) {
          engine.richardson_lucy_step(params_of(engine, loop), step, i,
                                      to_pointer<real_t>(values),
                                      to_pointer<void>(workspace), queue);
        });
      },
      "One operation of a loop whose convolutions are the caller's.");
}

void bind_pointwise(py::module_& m, const KernelEngines& e) {
  m.def(
      "rl_ratio",
      [e](bool is_double, int64_t count, uintptr_t image, uintptr_t reblurred,
          uintptr_t background, double floor, bool add, uintptr_t out,
          const AnyQueue& queue) {
        with_engine(e, is_double, [&]<class real_t>(const cuda::Engine<real_t>& engine) {
          engine.rl_ratio(
              {count, to_pointer<const real_t>(image),
               to_pointer<const real_t>(reblurred), to_pointer<const real_t>(background),
               real_t(floor), add ? RatioMode::kAdd : RatioMode::kClamp,
               to_pointer<real_t>(out), 1},
              queue);
        });
      },
      "image / expected, elementwise.");
  m.def(
      "rl_update",
      [e](bool is_double, int64_t count, uintptr_t estimate, uintptr_t correction,
          uintptr_t weight, uintptr_t out, const AnyQueue& queue) {
        with_engine(e, is_double, [&]<class real_t>(const cuda::Engine<real_t>& engine) {
          engine.rl_update({count, to_pointer<const real_t>(estimate),
                            to_pointer<const real_t>(correction),
                            to_pointer<const real_t>(weight), to_pointer<real_t>(out), 1},
                           queue);
        });
      },
      "estimate * correction * weight, elementwise.");
}

}  // namespace

void bind_kernels(py::module_& m, const KernelEngines& engines) {
  bind_types(m);
  bind_plans(m, engines);
  bind_convolution(m, engines);
  bind_loop(m, engines);
  bind_pointwise(m, engines);
}

}  // namespace otfuse
