// SPDX-License-Identifier: BSD-3-Clause
// The arguments of the networks' layers as Python names them, before their type is known;
// the CPU's launchers and the device's take the same.
#pragma once

#include <stdexcept>
#include <string>

#include "bind/convert.hpp"
#include "core/thin_program.hpp"

namespace otfuse {

inline Activation to_activation(const std::string& name) {
  if (name == "none") return Activation::kNone;
  if (name == "relu") return Activation::kRelu;
  if (name == "softplus") return Activation::kSoftplus;
  throw std::invalid_argument(
      "conv_thin: activation must be one of none, relu, softplus, got '" + name + "'");
}

struct AnyConvThin {
  // Address, channels, batch stride, channel stride.
  using Source = std::tuple<uintptr_t, int64_t, int64_t, int64_t>;

  bool is_double;
  int64_t batch;
  Triple extent;
  std::vector<Source> sources;
  std::optional<Source> added;
  int64_t channels_out;
  Triple kernel;
  uintptr_t weight, bias;
  std::string activation;
  uintptr_t out;

  template <class real_t>
  static ThinSource<real_t> to_source(const Source& s) {
    return {to_pointer<const real_t>(std::get<0>(s)), std::get<1>(s), std::get<2>(s),
            std::get<3>(s)};
  }

  template <class real_t>
  ConvThinParams<real_t> params(int threads) const {
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
    p.activation = to_activation(activation);
    p.activated = channels_out;
    p.out = to_pointer<real_t>(out);
    p.out_channel_stride = p.extent.count();
    p.out_batch_stride = channels_out * p.out_channel_stride;
    p.threads = threads;
    return p;
  }
};

struct AnyPixelMlp {
  // Address of weight, address of bias, channels in, channels out.
  using Layer = std::tuple<uintptr_t, uintptr_t, int64_t, int64_t>;

  bool is_double;
  int64_t batch, pixels;
  uintptr_t input;
  std::vector<Layer> layers;
  uintptr_t out;

  template <class real_t>
  PixelMlpParams<real_t> params(int threads) const {
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
    return p;
  }
};

struct AnyThinNetwork {
  // Address, then channels_out, channels_in, ky, kx.
  using Parameter = std::tuple<uintptr_t, int64_t, int64_t, int64_t, int64_t>;

  bool is_double;
  std::vector<int64_t> code;
  std::vector<Parameter> parameters;
  int64_t batch;
  Triple extent;
  uintptr_t image;
  std::vector<uintptr_t> outputs;

  // `program` has to outlive what is returned.
  template <class real_t>
  ThinNetworkParams<real_t> params(const ThinProgram& program, int threads) const {
    ThinNetworkParams<real_t> p{};
    p.program = &program;
    for (const auto& [data, channels_out, channels_in, ky, kx] : parameters) {
      p.parameters.push_back(
          {to_pointer<const real_t>(data), channels_out, channels_in, ky, kx});
    }
    p.batch = batch;
    p.extent = to_extents(extent);
    p.image = to_pointer<const real_t>(image);
    for (uintptr_t at : outputs) p.outputs.push_back(to_pointer<real_t>(at));
    p.threads = threads;
    return p;
  }
};

}  // namespace otfuse
