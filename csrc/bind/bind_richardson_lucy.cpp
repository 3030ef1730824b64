// SPDX-License-Identifier: BSD-3-Clause
// The Richardson-Lucy loop: its arguments have names because they are many.
#include <stdexcept>

#include "bind/bind.hpp"
#include "bind/convert.hpp"
#include "cpu/engine.hpp"

namespace py = pybind11;

namespace otfuse {
namespace {

bool python_interrupted() {
  py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

Acceleration to_acceleration(const std::string& name) {
  if (name == "none") return Acceleration::kNone;
  if (name == "shb") return Acceleration::kShb;
  if (name == "biggs") return Acceleration::kBiggs;
  throw std::invalid_argument(
      "richardson_lucy: acceleration must be none, shb or biggs, "
      "got '" +
      name + "'");
}

// The loop's arguments before its type is known; the meaning is that of the parameters.
struct AnyRichardsonLucy {
  Triple grid{};
  int64_t batch = 0;
  AnyField image, estimate, out;
  uintptr_t otf = 0, otf_back = 0;
  int64_t kernels = 1, inner = 1;
  std::optional<AnyField> previous, change, out_previous, out_change;
  std::optional<AnyField> judged, background_map;
  uintptr_t divergence = 0, floor = 0;
  double background = 0, judged_offset = 0;
  int64_t n_iters = 0, first_iteration = 0;
  std::string acceleration = "none";
  double tv = 0;
  std::array<double, 3> voxel{1, 1, 1};
  bool weighted = false;
  int threads = 1;

  template <class real_t>
  RichardsonLucyParams<real_t> params() const {
    return {to_extents(grid),
            batch,
            to_field<const real_t>(image),
            to_pointer<const real_t>(otf),
            to_pointer<const real_t>(otf_back),
            KernelIndex{kernels, inner},
            to_field<const real_t>(estimate),
            to_field<const real_t>(previous),
            to_field<const real_t>(change),
            to_field<real_t>(out),
            to_field<real_t>(out_previous),
            to_field<real_t>(out_change),
            to_pointer<double>(divergence),
            to_field<const real_t>(judged),
            real_t(judged_offset),
            to_pointer<const real_t>(floor),
            real_t(background),
            to_field<const real_t>(background_map),
            n_iters,
            first_iteration,
            to_acceleration(acceleration),
            real_t(tv),
            real_t(1 / voxel[0]),
            real_t(1 / voxel[1]),
            real_t(1 / voxel[2]),
            weighted,
            python_interrupted,
            threads};
  }
};

void richardson_lucy(bool is_double, AnyRichardsonLucy loop) {
  loop.threads = usable_threads(loop.threads);
  bool finished = false;
  {
    py::gil_scoped_release release;
    finished = with_real(is_double, [&](auto zero) {
      using real_t = decltype(zero);
      return engine<real_t>().richardson_lucy(loop.params<real_t>());
    });
  }
  if (!finished) throw py::error_already_set();  // poll left the signal's exception
}

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
      .def_readwrite("floor", &AnyRichardsonLucy::floor)
      .def_readwrite("background", &AnyRichardsonLucy::background)
      .def_readwrite("background_map", &AnyRichardsonLucy::background_map)
      .def_readwrite("n_iters", &AnyRichardsonLucy::n_iters)
      .def_readwrite("first_iteration", &AnyRichardsonLucy::first_iteration)
      .def_readwrite("acceleration", &AnyRichardsonLucy::acceleration)
      .def_readwrite("tv", &AnyRichardsonLucy::tv)
      .def_readwrite("voxel", &AnyRichardsonLucy::voxel)
      .def_readwrite("weighted", &AnyRichardsonLucy::weighted)
      .def_readwrite("threads", &AnyRichardsonLucy::threads);
  m.def("richardson_lucy_cpu", &richardson_lucy, "The Richardson-Lucy loop of a batch.");
  m.def("richardson_lucy_bytes_cpu", &richardson_lucy_bytes,
        "Bytes that the loop takes.");
}

}  // namespace otfuse
