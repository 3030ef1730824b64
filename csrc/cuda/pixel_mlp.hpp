// SPDX-License-Identifier: BSD-3-Clause
// A chain of dense layers on the channels of every pixel, relu after each; mirrors
// cpu/pixel_mlp.hpp. A block takes some pixels, rows of 32 of them, through all layers:
// what lies between these stays in shared memory, two layers' values and one layer's
// weights. Device memory: the input and the result once.
#pragma once

#include <limits>

#include "cuda/thin_sums.hpp"

namespace otfuse::cuda {

template <class real_t>
struct PixelMlpPass {
  static constexpr int kThreads = 128;
  static constexpr int kWarps = kThreads / kWarp;
  static constexpr int kBlocksPerMultiprocessor = 3;
  static constexpr int kOut = 8;  // channels of a warp at a time
  static constexpr int kRows = kThinRows<real_t>;
  static constexpr int kPlane = kRows * kWarp;  // of a channel
  static constexpr int kMostLayers = 64;

  struct Layer {
    const real_t *weight, *bias;
    int channels_in, channels_out;
  };

  ThinSource<real_t> input;
  real_t* out;
  int64_t out_batch_stride, out_channel_stride, pixels;
  int layers, widest;
  Layer layer[kMostLayers];

  int64_t blocks(int64_t batch) const { return groups() * batch; }
  int64_t shared_bytes() const {
    int64_t most = 0;  // weights of a layer
    for (int i = 0; i < layers; ++i)
      most = std::max(most, int64_t(layer[i].channels_in) * pitch(layer[i]));
    return (2 * widest * kPlane + most) * int64_t(sizeof(real_t));
  }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const int64_t item = block.index / groups();
    const int64_t first = block.index % groups() * kRows * kWarp;
    auto* from = reinterpret_cast<real_t*>(block.shared());
    auto* to = from + widest * kPlane;
    auto* const weights = to + widest * kPlane;
    block.phase([&](int t) { load(t, item, first, from); });
    for (int i = 0; i < layers; ++i) {
      block.phase([&](int t) { stage(t, layer[i], weights); });
      block.phase([&](int t) { apply(t, layer[i], from, weights, to); });
      real_t* const next = to;
      to = from;
      from = next;
    }
    block.phase([&](int t) { store(t, item, first, from); });
  }

 private:
  OTFUSE_HD int64_t groups() const {
    return (pixels + kRows * kWarp - 1) / (kRows * kWarp);
  }
  OTFUSE_HD static int padded(int channels) {
    return (channels + kOut - 1) / kOut * kOut;
  }
  OTFUSE_HD static int pitch(const Layer& l) {
    return weight_pitch(padded(l.channels_out));
  }

  // f(place in a plane, pixel) for the places of a channel that a thread of its warp
  // serves
  template <class F>
  OTFUSE_HD void each_pixel(int t, int64_t first, F f) const {
    OTFUSE_UNROLLED
    for (int r = 0; r < kRows; ++r) {
      const int64_t pixel = first + r * kWarp + t % kWarp;
      if (pixel < pixels) f(r * kWarp + t % kWarp, pixel);
    }
  }

  OTFUSE_HD void load(int t, int64_t item, int64_t first, real_t* to) const {
    for (int c = t / kWarp; c < layer[0].channels_in; c += kWarps) {
      const real_t* from =
          input.data + item * input.batch_stride + c * input.channel_stride;
      each_pixel(t, first,
                 [&](int place, int64_t pixel) { to[c * kPlane + place] = from[pixel]; });
    }
  }

  OTFUSE_HD void store(int t, int64_t item, int64_t first, const real_t* from) const {
    for (int c = t / kWarp; c < layer[layers - 1].channels_out; c += kWarps) {
      real_t* to = out + item * out_batch_stride + c * out_channel_stride;
      each_pixel(t, first,
                 [&](int place, int64_t pixel) { to[pixel] = from[c * kPlane + place]; });
    }
  }

  // [channel in][channel out]; a thread has kOut loads under way at once.
  OTFUSE_HD void stage(int t, const Layer& l, real_t* to) const {
    const int all = padded(l.channels_out);
    for (int i = t % kWarp; i < l.channels_in; i += kWarp) {
      for (int first = t / kWarp; first < all; first += kOut * kWarps) {
        real_t values[kOut];
        OTFUSE_UNROLLED
        for (int j = 0; j < kOut; ++j) {
          const int o = first + j * kWarps;
          values[j] = o < l.channels_out ? l.weight[o * l.channels_in + i] : real_t(0);
        }
        OTFUSE_UNROLLED
        for (int j = 0; j < kOut; ++j) {
          if (first + j * kWarps < all) to[i * pitch(l) + first + j * kWarps] = values[j];
        }
      }
    }
  }

  OTFUSE_HD void apply(int t, const Layer& l, const real_t* from, const real_t* weights,
                       real_t* to) const {
    for (int first = t / kWarp * kOut; first < l.channels_out; first += kWarps * kOut) {
      ThinSums<real_t, kOut> sums;
      OTFUSE_UNROLLED
      for (int o = 0; o < kOut; ++o) {
        const real_t b = first + o < l.channels_out ? l.bias[first + o] : real_t(0);
        OTFUSE_UNROLLED
        for (int r = 0; r < kRows; ++r) sums.at[o][r] = b;
      }
      for (int i = 0; i < l.channels_in; ++i) {
        add_taps<1, kWarp>(sums, from + i * kPlane + t % kWarp,
                           weights + i * pitch(l) + first, 0);
      }
      OTFUSE_UNROLLED
      for (int o = 0; o < kOut; ++o) {
        if (first + o >= l.channels_out) continue;
        OTFUSE_UNROLLED
        for (int r = 0; r < kRows; ++r) {
          to[(first + o) * kPlane + r * kWarp + t % kWarp] = relu(sums.at[o][r]);
        }
      }
    }
  }
};

template <class real_t>
PixelMlpPass<real_t> pixel_mlp_pass(const PixelMlpParams<real_t>& p) {
  using Pass = PixelMlpPass<real_t>;
  const int64_t channels_in = p.layers.front().channels_in;
  const int64_t channels_out = p.layers.back().channels_out;
  if (p.layers.size() > size_t(Pass::kMostLayers)) {
    throw std::invalid_argument("pixel_mlp: layers must be at most " +
                                std::to_string(Pass::kMostLayers) + ", got " +
                                std::to_string(p.layers.size()));
  }
  Pass pass{{p.input, channels_in, channels_in * p.pixels, p.pixels},
            p.out,
            channels_out * p.pixels,
            p.pixels,
            p.pixels,
            int(p.layers.size()),
            int(channels_in),
            {}};
  for (int i = 0; i < pass.layers; ++i) {
    const auto& l = p.layers[size_t(i)];
    pass.layer[i] = {l.weight, l.bias, int(l.channels_in), int(l.channels_out)};
    pass.widest = std::max(pass.widest, int(l.channels_out));
  }
  return pass;
}

// Of a block; more than any has where the layers do not fit into a kernel's parameters.
template <class real_t>
int64_t pixel_mlp_bytes(const PixelMlpParams<real_t>& p) {
  const bool fits = p.layers.size() <= size_t(PixelMlpPass<real_t>::kMostLayers);
  return fits ? pixel_mlp_pass(p).shared_bytes() : std::numeric_limits<int64_t>::max();
}

template <class real_t, class Launch>
void pixel_mlp(const PixelMlpParams<real_t>& p, const Launch& launch) {
  const auto pass = pixel_mlp_pass(p);
  launch(pass, pass.blocks(p.batch), pass.shared_bytes());
}

}  // namespace otfuse::cuda
