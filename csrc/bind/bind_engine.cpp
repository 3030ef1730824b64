// SPDX-License-Identifier: BSD-3-Clause
// Pointers and tuples to Params; the GIL is released while the core works.
#include <unistd.h>

#include <atomic>
#include <stdexcept>

#include "bind/bind.hpp"
#include "bind/convert.hpp"
#include "cpu/engine.hpp"

namespace py = pybind11;

namespace otfuse {

// OpenMP's worker threads do not survive a fork: a child that asks for them waits
// forever.
int usable_threads(int threads) {
  static std::atomic<pid_t> owner{0};
  if (threads <= 1) return 1;
  pid_t expected = 0;
  if (!owner.compare_exchange_strong(expected, getpid()) && expected != getpid()) {
    throw std::runtime_error(
        "otfuse: this process was forked from one that had already used several threads, "
        "got "
        "num_threads " +
        std::to_string(threads) +
        "; start processes with the 'spawn' method or call torch.set_num_threads(1)");
  }
  return threads;
}

namespace {

void bind_field(py::module_& m) {
  py::class_<AnyField>(m, "Field", "An array and its place on the grid; axes (z, y, x).")
      .def(py::init([](uintptr_t data, Triple stride, int64_t batch_stride, Triple offset,
                       Triple extent) {
             return AnyField{data, stride, offset, extent, batch_stride};
           }),
           py::arg("data"), py::arg("stride"), py::arg("batch_stride"), py::arg("offset"),
           py::arg("extent"));
}

void make_otf(bool is_double, Triple grid, int64_t kernels, const AnyField& kernel,
              uintptr_t otf, int threads) {
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  with_real(is_double, [&](auto zero) {
    using real_t = decltype(zero);
    engine<real_t>().make_otf({to_extents(grid), kernels, to_field<const real_t>(kernel),
                               to_pointer<real_t>(otf), threads});
  });
}

void fft_convolve(bool is_double, Triple grid, int64_t batch, const AnyField& image,
                  uintptr_t otf, int64_t kernels, int64_t inner, const AnyField& out,
                  bool adjoint, int threads,
                  const std::optional<std::array<uintptr_t, 3>>& shares, bool add) {
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  with_real(is_double, [&](auto zero) {
    using real_t = decltype(zero);
    const auto [z, y, x] = shares.value_or(std::array<uintptr_t, 3>{});
    engine<real_t>().fft_convolve(
        {to_extents(grid),
         batch,
         to_field<const real_t>(image),
         to_pointer<const real_t>(otf),
         KernelIndex{kernels, inner},
         to_field<real_t>(out),
         adjoint,
         threads,
         {to_pointer<const real_t>(z), to_pointer<const real_t>(y),
          to_pointer<const real_t>(x)},
         add});
  });
}

void rl_ratio(bool is_double, int64_t count, uintptr_t image, uintptr_t reblurred,
              uintptr_t background, double floor, bool add, uintptr_t out, int threads) {
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  with_real(is_double, [&](auto zero) {
    using real_t = decltype(zero);
    engine<real_t>().rl_ratio(
        {count, to_pointer<const real_t>(image), to_pointer<const real_t>(reblurred),
         to_pointer<const real_t>(background), real_t(floor),
         add ? RatioMode::kAdd : RatioMode::kClamp, to_pointer<real_t>(out), threads});
  });
}

void rl_update(bool is_double, int64_t count, uintptr_t estimate, uintptr_t correction,
               uintptr_t weight, uintptr_t out, int threads, bool clamp) {
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  with_real(is_double, [&](auto zero) {
    using real_t = decltype(zero);
    engine<real_t>().rl_update(
        {count, to_pointer<const real_t>(estimate), to_pointer<const real_t>(correction),
         to_pointer<const real_t>(weight), to_pointer<real_t>(out), threads, clamp});
  });
}

void spectral_mix(bool is_double, Triple grid, int64_t batch, int64_t outs, int64_t ins,
                  const AnyField& x, uintptr_t symbol, uintptr_t weight, uintptr_t basis,
                  int64_t terms, bool adjoint, const AnyField& out, int threads) {
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  with_real(is_double, [&](auto zero) {
    using real_t = decltype(zero);
    engine<real_t>().spectral_mix(
        {to_extents(grid),
         batch,
         outs,
         ins,
         to_field<const real_t>(x),
         to_pointer<const real_t>(symbol),
         adjoint,
         to_field<real_t>(out),
         {},
         nullptr,
         threads,
         {to_pointer<const real_t>(weight), to_pointer<const real_t>(basis), terms}});
  });
}

void spectral_mix_symbol(bool is_double, Triple grid, int64_t batch, int64_t outs,
                         int64_t ins, const AnyField& x, const AnyField& grad_y,
                         uintptr_t grad_symbol, int threads) {
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  with_real(is_double, [&](auto zero) {
    using real_t = decltype(zero);
    engine<real_t>().spectral_mix_symbol({to_extents(grid),
                                          batch,
                                          outs,
                                          ins,
                                          to_field<const real_t>(x),
                                          nullptr,
                                          false,
                                          {},
                                          to_field<const real_t>(grad_y),
                                          to_pointer<real_t>(grad_symbol),
                                          threads});
  });
}

}  // namespace

void bind_engine(py::module_& m) {
  bind_field(m);
  m.def(
      "otf_size",
      [](bool is_double, Triple grid) {
        return with_real(is_double, [&](auto zero) {
          return engine<decltype(zero)>().otf_size(to_extents(grid));
        });
      },
      "Reals of one OTF on a grid.");
  m.def(
      "next_fast_extent", [](int64_t n) { return engine<float>().next_fast_extent(n); },
      "The extent >= n that is cheapest to transform.");
  m.def("make_otf_cpu", &make_otf, "Kernels to OTFs in the engine's own order.");
  m.def("fft_convolve_cpu", &fft_convolve, "Circular convolution of a batch on a grid.",
        py::arg("is_double"), py::arg("grid"), py::arg("batch"), py::arg("image"),
        py::arg("otf"), py::arg("kernels"), py::arg("inner"), py::arg("out"),
        py::arg("adjoint"), py::arg("threads"), py::arg("shares") = py::none(),
        py::arg("add") = false);
  m.def("spectral_mix_cpu", &spectral_mix,
        "Channels mixed at every frequency, by a symbol or, where that is none, its "
        "factors.");
  m.def("spectral_mix_symbol_cpu", &spectral_mix_symbol, "Its derivative in the symbol.");
  m.def("rl_ratio_cpu", &rl_ratio, "image / expected, elementwise.");
  m.def("rl_update_cpu", &rl_update, "estimate * correction * weight, elementwise.");
}

}  // namespace otfuse
