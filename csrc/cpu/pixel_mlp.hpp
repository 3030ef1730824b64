// SPDX-License-Identifier: BSD-3-Clause
// A chain of dense layers on the channels of every pixel. A chunk of pixels goes through
// all layers before the next: what lies between them never leaves the L1 cache. Read and
// written once: 4 (channels_in + channels_out) bytes a pixel in float32.
#pragma once

#include <omp.h>

#include <algorithm>

#include "core/activation.hpp"
#include "cpu/thin_kernel.hpp"
#include "cpu/workspace.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class real_t>
class PixelMlp {
  static constexpr int kLanes = Simd<real_t>::kLanes;
  using V = Lanes<real_t>;

 public:
  static constexpr int kVectors = most_vectors(kWidestBlock);
  static constexpr int64_t kPixels = kVectors * kLanes;  // of a chunk

  using Layer = typename PixelMlpParams<real_t>::Layer;

  // One image: channels lie their stride apart.
  struct Plane {
    const real_t* input;
    int64_t input_stride;
    real_t* out;
    int64_t out_stride, pixels;
  };

  explicit PixelMlp(const std::vector<Layer>& layers) {
    channels_in_ = widest_ = layers.front().channels_in;
    for (const Layer& layer : layers) {
      kernels_.emplace_back(layer.weight, layer.channels_in, layer.channels_out,
                            Extents{1, 1, 1}, 1);
      biases_.push_back(layer.bias);
      widest_ = std::max(widest_, layer.channels_out);
    }
  }

  static int64_t chunks(int64_t pixels) { return ceil_div(pixels, kPixels); }

  // Two layers' values and a block of sums.
  int64_t reals() const { return (2 * widest_ + kWidestBlock) * kPixels; }

  void run(const Plane& plane, int64_t chunk, real_t* memory) const {
    const int64_t begin = chunk * kPixels,
                  count = std::min(kPixels, plane.pixels - begin);
    real_t *from = memory, *to = memory + widest_ * kPixels;
    for (int64_t c = 0; c < channels_in_; ++c) {
      const real_t* input = plane.input + c * plane.input_stride + begin;
      std::fill_n(std::copy_n(input, count, from + c * kPixels), kPixels - count,
                  real_t(0));
    }
    for (size_t i = 0; i < kernels_.size(); ++i, std::swap(from, to)) {
      layer(kernels_[i], biases_[i], from, to, memory + 2 * widest_ * kPixels);
    }
    for (int64_t c = 0; c < kernels_.back().channels_out; ++c) {
      std::copy_n(from + c * kPixels, count, plane.out + c * plane.out_stride + begin);
    }
  }

 private:
  std::vector<ThinKernel<real_t>> kernels_;
  std::vector<const real_t*> biases_;
  int64_t channels_in_, widest_;

  static void layer(const ThinKernel<real_t>& kernel, const real_t* bias,
                    const real_t* from, real_t* to, real_t* sums) {
    ThinTaps<real_t> taps;
    taps.groups = 1;
    taps.width = 1;
    for (const ThinChannels& block : kernel.blocks) {
      taps.group[0] = {from, kernel.weights(block, 0, 0), kernel.channels_in, kPixels};
      thin_block(block.width, taps, 0, kVectors, sums);
      for (int c = 0; c < block.valid; ++c, to += kPixels) {
        const V b = broadcast(bias[block.first + c]);
        unroll<kVectors>([&](auto n) OTFUSE_LAMBDA {
          const V sum = load_aligned(sums + c * kPixels + n * kLanes);
          store_aligned(to + n * kLanes, relu(V(sum + b)));
        });
      }
    }
  }
};

template <class real_t>
void pixel_mlp(const PixelMlpParams<real_t>& p) {
  const PixelMlp<real_t> mlp(p.layers);
  const int64_t chunks = mlp.chunks(p.pixels), jobs = p.batch * chunks;
  const int64_t channels_in = p.layers.front().channels_in;
  const int64_t channels_out = p.layers.back().channels_out;
  const int threads = int(std::clamp<int64_t>(jobs, 1, p.threads));
  const Workspace workspace(size_t(threads * mlp.reals()) * sizeof(real_t));
#pragma omp parallel num_threads(threads)
  {
    real_t* memory =
        static_cast<real_t*>(workspace.data()) + omp_get_thread_num() * mlp.reals();
#pragma omp for schedule(static)
    for (int64_t job = 0; job < jobs; ++job) {
      const int64_t image = job / chunks * p.pixels;
      mlp.run({p.input + image * channels_in, p.pixels, p.out + image * channels_out,
               p.pixels, p.pixels},
              job % chunks, memory);
    }
  }
}

OTFUSE_END_ISA_NAMESPACE
