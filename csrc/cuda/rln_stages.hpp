// SPDX-License-Identifier: BSD-3-Clause
// The stages of RLN: what a convolution's sums become, and the two that are no 3x3x3
// convolution; mirrors cpu/rln_stages.hpp. Arrays are (item, channel, z, y, x).
#pragma once

#include "cuda/conv_planes.hpp"

namespace otfuse::cuda {

// Some channels of the network's items; whoever reads more than it has, wraps around.
struct Channels {
  float* data;
  int64_t channels, item_stride, voxels;

  OTFUSE_HD float* at(int64_t item, int64_t channel) const {
    return data + item * item_stride + channel * voxels;
  }
  ThinSource<float> source() const { return {data, channels, item_stride, voxels}; }
};

template <int kOut>
OTFUSE_HD float mean_softplus(const float (&sums)[kOut]) {
  float total = 0;
  OTFUSE_UNROLLED
  for (int o = 0; o < kOut; ++o) total += softplus_of(sums[o]);
  return total * (1.0f / kOut);
}

// out = softplus(convolution), every channel kept.
template <int kOut>
struct SoftplusOp {
  Channels out;

  OTFUSE_HD void operator()(int64_t item, int64_t voxel,
                            const float (&sums)[kOut]) const {
    OTFUSE_UNROLLED
    for (int o = 0; o < kOut; ++o) out.at(item, o)[voxel] = softplus_of(sums[o]);
  }
};

// out = affine(image / (mean over channels of blurred + c)), where the blurred are
// softplus of the convolution plus softplus of the image; one channel a view.
struct QuotientOp {
  Channels image, out;
  Affine norm;
  float denominator;

  OTFUSE_HD void operator()(int64_t item, int64_t voxel, const float (&sums)[4]) const {
    float skip = 0;
    for (int v = 0; v < image.channels; ++v)
      skip += softplus_of(image.at(item, v)[voxel]);
    const float blurred = mean_softplus(sums) + skip * (1.0f / float(image.channels));
    for (int v = 0; v < image.channels; ++v) {
      const float ratio =
          rl_ratio_add(image.at(item, v)[voxel], blurred, 0.0f, denominator);
      out.at(item, v)[voxel] = ratio * norm.scale[v] + norm.shift[v];
    }
  }
};

// out = softplus(affine(estimate * (mean over channels of softplus(convolution) +
// offset))), the estimate being the mean of its channels.
template <int kOut>
struct ProductOp {
  Channels estimate, out;
  Affine norm;
  float offset;

  OTFUSE_HD void operator()(int64_t item, int64_t voxel,
                            const float (&sums)[kOut]) const {
    float mean = 0;
    for (int c = 0; c < estimate.channels; ++c) mean += estimate.at(item, c)[voxel];
    mean *= 1.0f / float(estimate.channels);
    const float updated = mean * (mean_softplus(sums) + offset);
    out.at(item, 0)[voxel] = softplus_of(updated * norm.scale[0] + norm.shift[0]);
  }
};

// out = mean over channels of softplus(convolution).
struct MeanOp {
  Channels out;

  OTFUSE_HD void operator()(int64_t item, int64_t voxel, const float (&sums)[8]) const {
    out.at(item, 0)[voxel] = mean_softplus(sums);
  }
};

// Means over 2 x 2 x 2 voxels. A thread makes one.
struct PoolPass {
  static constexpr int kThreads = 256;
  static constexpr int kBlocksPerMultiprocessor = 4;

  Extents whole, half;
  Channels from, to;

  int64_t blocks(int64_t batch) const { return tiles() * from.channels * batch; }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const int64_t plane = block.index / tiles();
    const float* source = from.at(plane / from.channels, plane % from.channels);
    float* const target = to.at(plane / from.channels, plane % from.channels);
    block.phase([&](int t) {
      const int64_t i = block.index % tiles() * kThreads + t;
      if (i >= to.voxels) return;
      const int64_t x = i % half.x, y = i / half.x % half.y, z = i / half.x / half.y;
      const float* a = source + ((2 * z * whole.y + 2 * y) * whole.x + 2 * x);
      const float *b = a + whole.x, *c = a + whole.y * whole.x, *d = c + whole.x;
      target[i] =
          0.125f * (((a[0] + a[1]) + (b[0] + b[1])) + ((c[0] + c[1]) + (d[0] + d[1])));
    });
  }

 private:
  OTFUSE_HD int64_t tiles() const { return (to.voxels + kThreads - 1) / kThreads; }
};

// The transposed convolution 2x2x2 with stride 2, and softplus: 8 channels to 4. A thread
// makes two voxels side by side, from the same one of the input. The last plane of an odd
// extent is reached by none: there it is softplus(shift).
struct UpPass {
  static constexpr int kThreads = 256;
  static constexpr int kBlocksPerMultiprocessor = 4;
  static constexpr int kIn = 8, kOut = 4;

  Extents whole, half;
  Channels from, to;
  ConvWeights w;

  int64_t blocks(int64_t batch) const { return tiles() * batch; }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const int64_t item = block.index / tiles();
    block.phase([&](int t) {
      const int64_t i = block.index % tiles() * kThreads + t;
      if (i < threads())
        pair(item, i % pairs(), i / pairs() % whole.y, i / pairs() / whole.y);
    });
  }

 private:
  OTFUSE_HD int64_t pairs() const { return (whole.x + 1) / 2; }
  OTFUSE_HD int64_t threads() const { return pairs() * whole.y * whole.z; }
  OTFUSE_HD int64_t tiles() const { return (threads() + kThreads - 1) / kThreads; }

  OTFUSE_HD void pair(int64_t item, int64_t x, int64_t y, int64_t z) const {
    float sums[2][kOut];
    OTFUSE_UNROLLED
    for (int k = 0; k < 2 * kOut; ++k) sums[k / kOut][k % kOut] = w.shift[k % kOut];
    if (x < half.x && y / 2 < half.y && z / 2 < half.z) {
      const float* in = from.at(item, 0) + ((z / 2) * half.y + y / 2) * half.x + x;
      const float* taps = w.taps + (z % 2 * 2 + y % 2) * 2 * kIn * kOut;
      for (int c = 0; c < kIn; ++c) {
        const float value = in[c * from.voxels];
        OTFUSE_UNROLLED
        for (int k = 0; k < 2 * kOut; ++k) {
          sums[k / kOut][k % kOut] +=
              value * taps[(k / kOut * kIn + c) * kOut + k % kOut];
        }
      }
    }
    float* out = to.at(item, 0) + (z * whole.y + y) * whole.x + 2 * x;
    OTFUSE_UNROLLED
    for (int o = 0; o < kOut; ++o) {
      out[o * to.voxels] = softplus_of(sums[0][o]);
      if (2 * x + 1 < whole.x) out[o * to.voxels + 1] = softplus_of(sums[1][o]);
    }
  }
};

}  // namespace otfuse::cuda
