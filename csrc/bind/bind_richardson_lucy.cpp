// SPDX-License-Identifier: BSD-3-Clause
// The Richardson-Lucy loop: its arguments have names because they are many.
#include "bind/bind.hpp"
#include "bind/loop.hpp"
#include "cpu/engine.hpp"
#include "cuda/rl_memory.hpp"

namespace py = pybind11;

namespace otfuse {
namespace {

bool python_interrupted() {
  py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

void richardson_lucy(bool is_double, AnyRichardsonLucy loop) {
  loop.threads = usable_threads(loop.threads);
  bool finished = false;
  {
    py::gil_scoped_release release;
    finished = with_real(is_double, [&](auto zero) {
      using real_t = decltype(zero);
      auto p = loop.params<real_t>();
      p.poll = python_interrupted;
      return engine<real_t>().richardson_lucy(p);
    });
  }
  if (!finished) throw py::error_already_set();  // poll left the signal's exception
}

void psf_terms(bool is_double, const AnyRichardsonLucy& loop,
               const std::optional<AnyField>& light) {
  const int threads = usable_threads(loop.threads);
  py::gil_scoped_release release;
  with_real(is_double, [&](auto zero) {
    using real_t = decltype(zero);
    const auto p = loop.params<real_t>();
    engine<real_t>().psf_terms({p.grid, p.batch, p.image, p.estimate, p.otf, p.kernel,
                                p.floor, p.background, p.background_map, p.out,
                                to_field<real_t>(light), threads});
  });
}

// The loop's arrays and OTFs on a device, in pencil passes: other tiers take less, or
// leave the rest to torch.
template <class real_t>
int64_t bytes_on_device(const RichardsonLucyParams<real_t>& p) {
  const int64_t kernels = p.kernel.kernels * (p.otf_back == nullptr ? 1 : 2);
  return cuda::LoopMemory<real_t>::bytes(p, 2 * sizeof(real_t)) +
         kernels * cuda::otf_size(p.grid) * int64_t(sizeof(real_t));
}

template <bool kOnDevice>
int64_t richardson_lucy_bytes(bool is_double, Triple grid, int64_t batch, int64_t kernels,
                              Triple image_extent, const std::string& acceleration,
                              bool weighted, bool unmatched, bool tv, bool mapped,
                              bool judged, int threads) {
  return with_real(is_double, [&](auto zero) {
    using real_t = decltype(zero);
    const real_t present{};  // only whether there are such arrays counts
    RichardsonLucyParams<real_t> p{};
    p.grid = to_extents(grid);
    p.batch = batch;
    p.kernel.kernels = kernels;
    p.image.window = {{0, 0, 0}, to_extents(image_extent)};
    p.acceleration = to_acceleration(acceleration);
    p.otf_back = unmatched ? &present : nullptr;
    p.tv = tv;
    p.background_map.data = mapped ? &present : nullptr;
    p.judged.data = judged ? &present : nullptr;
    p.weighted = weighted;
    p.threads = threads;
    if constexpr (kOnDevice) return bytes_on_device(p);
    return engine<real_t>().richardson_lucy_bytes(p);
  });
}

}  // namespace

void bind_richardson_lucy(py::module_& m) {
  py::class_<AnyRichardsonLucy>(m, "RichardsonLucy", "The arguments of a loop.")
      .def(py::init<>())
      .def_readwrite("grid", &AnyRichardsonLucy::grid)
      .def_readwrite("batch", &AnyRichardsonLucy::batch)
      .def_readwrite("image", &AnyRichardsonLucy::image)
      .def_readwrite("otf", &AnyRichardsonLucy::otf)
      .def_readwrite("otf_back", &AnyRichardsonLucy::otf_back)
      .def_readwrite("kernels", &AnyRichardsonLucy::kernels)
      .def_readwrite("inner", &AnyRichardsonLucy::inner)
      .def_readwrite("estimate", &AnyRichardsonLucy::estimate)
      .def_readwrite("previous", &AnyRichardsonLucy::previous)
      .def_readwrite("change", &AnyRichardsonLucy::change)
      .def_readwrite("out", &AnyRichardsonLucy::out)
      .def_readwrite("out_previous", &AnyRichardsonLucy::out_previous)
      .def_readwrite("out_change", &AnyRichardsonLucy::out_change)
      .def_readwrite("divergence", &AnyRichardsonLucy::divergence)
      .def_readwrite("judged", &AnyRichardsonLucy::judged)
      .def_readwrite("judged_offset", &AnyRichardsonLucy::judged_offset)
      .def_readwrite("second", &AnyRichardsonLucy::second)
      .def_readwrite("agreed", &AnyRichardsonLucy::agreed)
      .def_readwrite("fewest", &AnyRichardsonLucy::fewest)
      .def_readwrite("floor", &AnyRichardsonLucy::floor)
      .def_readwrite("background", &AnyRichardsonLucy::background)
      .def_readwrite("background_map", &AnyRichardsonLucy::background_map)
      .def_readwrite("n_iters", &AnyRichardsonLucy::n_iters)
      .def_readwrite("first_iteration", &AnyRichardsonLucy::first_iteration)
      .def_readwrite("acceleration", &AnyRichardsonLucy::acceleration)
      .def_readwrite("tv", &AnyRichardsonLucy::tv)
      .def_readwrite("voxel", &AnyRichardsonLucy::voxel)
      .def_readwrite("weighted", &AnyRichardsonLucy::weighted)
      .def_readwrite("views", &AnyRichardsonLucy::views)
      .def_readwrite("joint", &AnyRichardsonLucy::joint)
      .def_readwrite("nodes", &AnyRichardsonLucy::nodes)
      .def_readwrite("shares", &AnyRichardsonLucy::shares)
      .def_readwrite("threads", &AnyRichardsonLucy::threads);
  m.def("richardson_lucy_cpu", &richardson_lucy, "The Richardson-Lucy loop of a batch.");
  m.def("psf_terms_cpu", &psf_terms,
        "What an update of the PSF asks for, to `out`, and the light there is for it.");
  m.def("richardson_lucy_bytes_cpu", &richardson_lucy_bytes<false>,
        "Bytes that the loop takes.");
  m.def("richardson_lucy_bytes_cuda", &richardson_lucy_bytes<true>,
        "Bytes that the loop takes on a device, whether the kernels were built or not.");
}

}  // namespace otfuse
