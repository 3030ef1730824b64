// SPDX-License-Identifier: BSD-3-Clause
// What the launchers of the thin-channel convolutions are told. Arrays are (batch,
// channel, z, y, x), x fastest, the spatial axes contiguous.
#pragma once

#include <cstdint>
#include <vector>

#include "core/params.hpp"

namespace otfuse {

enum class Activation { kNone, kRelu, kSoftplus };

// Some of the input channels: an array of its own, or a part of one.
template <class real_t>
struct ThinSource {
  const real_t* data;
  int64_t channels, batch_stride, channel_stride;
};

// out = activation(start + bias + weight * (sources side by side + added)), zeros beyond
// the edges.
template <class real_t>
struct ConvThinParams {
  int64_t batch;
  Extents extent;
  std::vector<ThinSource<real_t>> sources;
  ThinSource<real_t>
      added;  // one channel, added to every channel of the input; or no data
  ThinSource<real_t> start;  // of the output's channels; or no data
  int64_t channels_in, channels_out;
  Extents kernel;        // odd
  const real_t* weight;  // (channels_out, channels_in, kernel)
  const real_t* bias;    // (channels_out); none: 0
  Activation activation;
  int64_t activated;  // output channels that it applies to, the first ones
  real_t* out;
  int64_t out_batch_stride, out_channel_stride;
  int threads;
};

// A chain of dense layers on the channels of every pixel, relu after each.
template <class real_t>
struct PixelMlpParams {
  struct Layer {
    const real_t* weight;  // (channels_out, channels_in)
    const real_t* bias;    // (channels_out)
    int64_t channels_in, channels_out;
  };

  int64_t batch, pixels;
  const real_t* input;  // (batch, channels, pixels)
  std::vector<Layer> layers;
  real_t* out;
  int threads;
};

}  // namespace otfuse
