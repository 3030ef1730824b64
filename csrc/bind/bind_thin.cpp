// SPDX-License-Identifier: BSD-3-Clause
// The thin-channel convolutions: pointers and tuples to Params.
#include <pybind11/stl.h>

#include <stdexcept>

#include "bind/bind.hpp"
#include "bind/convert.hpp"
#include "cpu/thin_engine.hpp"

namespace py = pybind11;

namespace otfuse {
namespace {

// Address, channels, batch stride, channel stride.
using Source = std::tuple<uintptr_t, int64_t, int64_t, int64_t>;

template <class real_t>
ThinSource<real_t> to_source(const Source& s) {
  return {to_pointer<const real_t>(std::get<0>(s)), std::get<1>(s), std::get<2>(s),
          std::get<3>(s)};
}

Activation to_activation(const std::string& name) {
  if (name == "none") return Activation::kNone;
  if (name == "relu") return Activation::kRelu;
  if (name == "softplus") return Activation::kSoftplus;
  throw std::invalid_argument(
      "conv_thin: activation must be one of none, relu, softplus, got '" + name + "'");
}

void conv_thin(bool is_double, int64_t batch, Triple extent,
               const std::vector<Source>& sources, const std::optional<Source>& added,
               int64_t channels_out, Triple kernel, uintptr_t weight, uintptr_t bias,
               const std::string& activation, uintptr_t out, int threads) {
  const Activation act = to_activation(activation);
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  with_real(is_double, [&](auto zero) {
    using real_t = decltype(zero);
    ConvThinParams<real_t> p{};
    p.batch = batch;
    p.extent = to_extents(extent);
    for (const Source& s : sources) {
      p.sources.push_back(to_source<real_t>(s));
      p.channels_in += p.sources.back().channels;
    }
    if (added) p.added = to_source<real_t>(*added);
    p.channels_out = channels_out;
    p.kernel = to_extents(kernel);
    p.weight = to_pointer<const real_t>(weight);
    p.bias = to_pointer<const real_t>(bias);
    p.activation = act;
    p.activated = channels_out;
    p.out = to_pointer<real_t>(out);
    p.out_channel_stride = p.extent.count();
    p.out_batch_stride = channels_out * p.out_channel_stride;
    p.threads = threads;
    thin_engine<real_t>().conv_thin(p);
  });
}

// Address of weight, address of bias, channels in, channels out.
using Layer = std::tuple<uintptr_t, uintptr_t, int64_t, int64_t>;

void pixel_mlp(bool is_double, int64_t batch, int64_t pixels, uintptr_t input,
               const std::vector<Layer>& layers, uintptr_t out, int threads) {
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  with_real(is_double, [&](auto zero) {
    using real_t = decltype(zero);
    PixelMlpParams<real_t> p{};
    p.batch = batch;
    p.pixels = pixels;
    p.input = to_pointer<const real_t>(input);
    for (const auto& [weight, bias, channels_in, channels_out] : layers) {
      p.layers.push_back({to_pointer<const real_t>(weight),
                          to_pointer<const real_t>(bias), channels_in, channels_out});
    }
    p.out = to_pointer<real_t>(out);
    p.threads = threads;
    thin_engine<real_t>().pixel_mlp(p);
  });
}

// Address, then channels_out, channels_in, ky, kx.
using Parameter = std::tuple<uintptr_t, int64_t, int64_t, int64_t, int64_t>;

void thin_network(bool is_double, const std::vector<int64_t>& code,
                  const std::vector<Parameter>& parameters, int64_t batch, Triple extent,
                  uintptr_t image, const std::vector<uintptr_t>& outputs, int threads) {
  threads = usable_threads(threads);
  py::gil_scoped_release release;
  const ThinProgram program(code);
  with_real(is_double, [&](auto zero) {
    using real_t = decltype(zero);
    ThinNetworkParams<real_t> p{};
    p.program = &program;
    for (const auto& [data, channels_out, channels_in, ky, kx] : parameters) {
      p.parameters.push_back(
          {to_pointer<const real_t>(data), channels_out, channels_in, ky, kx});
    }
    p.batch = batch;
    p.extent = to_extents(extent);
    p.image = to_pointer<const real_t>(image);
    for (uintptr_t out : outputs) p.outputs.push_back(to_pointer<real_t>(out));
    p.threads = threads;
    thin_engine<real_t>().thin_network(p);
  });
}

}  // namespace

void bind_thin(py::module_& m) {
  m.def("conv_thin_cpu", &conv_thin,
        "Convolution of few channels, zeros beyond the edges.");
  m.def("thin_network_cpu", &thin_network, "A program of thin-channel layers on images.");
  m.def("pixel_mlp_cpu", &pixel_mlp, "Dense layers on the channels of every pixel.");
}

}  // namespace otfuse
