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

  explicit PixelMlp(const PixelMlpParams<real_t>& p) : p_(p) {
    widest_ = p.layers.front().channels_in;
    for (const auto& layer : p.layers) {
      kernels_.emplace_back(layer.weight, layer.channels_in, layer.channels_out,
                            Extents{1, 1, 1}, 1);
      widest_ = std::max(widest_, layer.channels_out);
    }
  }

  // Two layers' values and a block of sums.
  int64_t reals() const { return (2 * widest_ + kWidestBlock) * kPixels; }

  void run(int64_t batch, int64_t chunk, real_t* memory) const {
    const int64_t begin = chunk * kPixels, count = std::min(kPixels, p_.pixels - begin);
    real_t *from = memory, *to = memory + widest_ * kPixels;
    const int64_t channels = p_.layers.front().channels_in;
    const real_t* input = p_.input + batch * channels * p_.pixels + begin;
    for (int64_t c = 0; c < channels; ++c) {
      std::fill_n(std::copy_n(input + c * p_.pixels, count, from + c * kPixels),
                  kPixels - count, real_t(0));
    }
    for (size_t i = 0; i < kernels_.size(); ++i, std::swap(from, to)) {
      layer(kernels_[i], p_.layers[i].bias, from, to, memory + 2 * widest_ * kPixels);
    }
    const int64_t last = p_.layers.back().channels_out;
    real_t* out = p_.out + batch * last * p_.pixels + begin;
    for (int64_t c = 0; c < last; ++c) {
      std::copy_n(from + c * kPixels, count, out + c * p_.pixels);
    }
  }

 private:
  const PixelMlpParams<real_t>& p_;
  std::vector<ThinKernel<real_t>> kernels_;
  int64_t widest_;

  static void layer(const ThinKernel<real_t>& kernel, const real_t* bias,
                    const real_t* from, real_t* to, real_t* sums) {
    ThinTaps<real_t> taps;
    taps.input[0] = from;
    taps.groups = 1;
    taps.channels = kernel.channels_in;
    taps.stride = kPixels;
    taps.width = 1;
    for (const ThinChannels& block : kernel.blocks) {
      taps.weight[0] = kernel.weights(block, 0, 0);
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
  const PixelMlp<real_t> mlp(p);
  const int64_t chunks = (p.pixels + mlp.kPixels - 1) / mlp.kPixels,
                jobs = p.batch * chunks;
  const int threads = int(std::clamp<int64_t>(jobs, 1, p.threads));
  const Workspace workspace(size_t(threads * mlp.reals()) * sizeof(real_t));
#pragma omp parallel num_threads(threads)
  {
    real_t* memory =
        static_cast<real_t*>(workspace.data()) + omp_get_thread_num() * mlp.reals();
#pragma omp for schedule(static)
    for (int64_t job = 0; job < jobs; ++job) mlp.run(job / chunks, job % chunks, memory);
  }
}

OTFUSE_END_ISA_NAMESPACE
