// SPDX-License-Identifier: BSD-3-Clause
// 3x3x3 convolutions of a few channels, two planes of outputs at a time, by Winograd's
// F(2, 3) along z; mirrors cpu/conv_planes.hpp, where the equations stand. The four warps
// of a block make the four sums m0 .. m3 of a tile of 8 rows and 32 columns, from planes
// that are combined on their way into shared memory; then they exchange the sums there,
// and op(item, voxel, sums of all channels) takes each voxel. Device memory: the inputs
// (four planes for two) and what op takes. Multiply-adds: 18 kOut channels_in a voxel.
#pragma once

#include "core/rln_params.hpp"
#include "cuda/thin_sums.hpp"

namespace otfuse::cuda {

template <int kOut, class Op>
struct ConvPlanesPass {
  static constexpr int kThreads = 128;
  static constexpr int kSums = kThreads / kWarp;
  static constexpr int kBlocksPerMultiprocessor = 4;
  static constexpr int kRows = kThinRows<float>;
  static constexpr int kPlane = (kRows + 2) * kThinPitch;  // staged
  static constexpr int kTaps = 9 * kOut;                   // of a channel and a sum
  static constexpr int kTile = kRows * kWarp;
  static constexpr int kBatch = 2;  // rows that a warp loads at once
  static constexpr int64_t kChannelBytes =
      kSums * (kPlane + kTaps) * int64_t(sizeof(float));

  Extents extent;
  ThinInputs<float> in;
  int channels_in;
  ConvWeights w;
  Op op;
  int staged;  // channels at a time
  int64_t tiles_x, tiles_y, pairs;

  ConvPlanesPass(const Extents& extent, const std::vector<ThinSource<float>>& sources,
                 const ConvWeights& w, const Op& op)
      : extent(extent), in(sources), channels_in(0), w(w), op(op) {
    for (const auto& s : sources) channels_in += int(s.channels);
    constexpr int kMost = int(kStageBytes / kChannelBytes);
    const int rounds = (channels_in + kMost - 1) / kMost;
    staged = (channels_in + rounds - 1) / rounds;
    tiles_x = (extent.x + kWarp - 1) / kWarp;
    tiles_y = (extent.y + kRows - 1) / kRows;
    pairs = (extent.z + 1) / 2;
  }

  int64_t blocks(int64_t batch) const { return tiles_x * tiles_y * pairs * batch; }
  int64_t shared_bytes() const {
    constexpr int64_t kExchanged = kSums * kOut * kTile * int64_t(sizeof(float));
    return std::max(staged * kChannelBytes, kExchanged);
  }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const Tile tile = tile_of(block.index);
    auto sums = block.template own<ThinSums<float, kOut>>();
    auto* const planes = reinterpret_cast<float*>(block.shared());
    float* const weights = planes + staged * kSums * kPlane;
    block.phase([&](int t) { begin(t, sums(t)); });
    for (int first = 0; first < channels_in; first += staged) {
      const int count = first + staged < channels_in ? staged : channels_in - first;
      block.phase([&](int t) {
        stage_weights(t, first, count, weights);
        for (int i = 0; i < count; ++i) {
          stage_planes(t, tile, first + i, planes + i * kSums * kPlane);
        }
      });
      block.phase([&](int t) { add(t, count, planes, weights, sums(t)); });
    }
    block.phase([&](int t) { give(t, sums(t), planes); });
    block.phase([&](int t) { finish(t, tile, planes); });
  }

 private:
  struct Tile {
    int64_t item, z, y, x;
  };
  struct Planes {  // values of neighbouring planes
    float at[kSums];
  };

  OTFUSE_HD Tile tile_of(int64_t index) const {
    const int64_t x = index % tiles_x * kWarp;
    index /= tiles_x;
    const int64_t y = index % tiles_y * kRows;
    index /= tiles_y;
    return {index / pairs, index % pairs * 2, y, x};
  }

  // The second sum is in both outputs.
  OTFUSE_HD void begin(int t, ThinSums<float, kOut>& sums) const {
    OTFUSE_UNROLLED
    for (int o = 0; o < kOut; ++o) {
      const float start = t / kWarp == 1 ? w.shift[o] : 0.0f;
      OTFUSE_UNROLLED
      for (int p = 0; p < kRows; ++p) sums.at[o][p] = start;
    }
  }

  // [sum][channel][dy][dx][channel of the result]; each warp those of its sum.
  OTFUSE_HD void stage_weights(int t, int first, int count, float* to) const {
    constexpr int kLoads = 8;  // at once
    const int sum = t / kWarp, lane = t % kWarp, n = count * kTaps;
    const float* from = w.taps + (int64_t(sum) * channels_in + first) * kTaps;
    float* const own = to + sum * staged * kTaps;
    for (int u = lane; u < n; u += kLoads * kWarp) {
      float values[kLoads];
      OTFUSE_UNROLLED
      for (int i = 0; i < kLoads; ++i) {
        values[i] = u + i * kWarp < n ? from[u + i * kWarp] : 0.0f;
      }
      OTFUSE_UNROLLED
      for (int i = 0; i < kLoads; ++i) {
        if (u + i * kWarp < n) own[u + i * kWarp] = values[i];
      }
    }
  }

  OTFUSE_HD void stage_planes(int t, const Tile& tile, int channel, float* to) const {
    const float* from = in.channel(tile.item, channel);
    const int64_t plane = extent.y * extent.x;
    const auto load = [&](int r, int c) OTFUSE_LAMBDA {
      const int64_t y = tile.y + r - 1, x = tile.x + c - 1;
      const bool inside = y >= 0 && y < extent.y && x >= 0 && x < extent.x;
      const float* at = from + y * extent.x + x;
      Planes d;
      OTFUSE_UNROLLED
      for (int k = 0; k < kSums; ++k) {
        const int64_t z = tile.z + k - 1;
        d.at[k] = inside && z >= 0 && z < extent.z ? at[z * plane] : 0.0f;
      }
      return d;
    };
    stage<kThreads, kBatch>(t, kRows + 2, kWarp + 2, load,
                            [&](int r, int c, const Planes& d) OTFUSE_LAMBDA {
                              float* place = to + r * kThinPitch + c;
                              place[0] = d.at[0] - d.at[2];
                              place[kPlane] = d.at[1] + d.at[2];
                              place[2 * kPlane] = d.at[2] - d.at[1];
                              place[3 * kPlane] = d.at[1] - d.at[3];
                            });
  }

  OTFUSE_HD void add(int t, int count, const float* planes, const float* weights,
                     ThinSums<float, kOut>& sums) const {
    const float* from = planes + t / kWarp * kPlane + t % kWarp;
    const float* taps = weights + t / kWarp * staged * kTaps;
    for (int i = 0; i < count; ++i) {
      for (int dx = 0; dx < 3; ++dx) {
        add_taps<3, kThinPitch>(sums, from + dx, taps + dx * kOut, 3 * kOut);
      }
      from += kSums * kPlane;
      taps += kTaps;
    }
  }

  // [sum][channel][row][column]
  OTFUSE_HD void give(int t, const ThinSums<float, kOut>& sums, float* to) const {
    float* const own = to + t / kWarp * kOut * kTile + t % kWarp;
    OTFUSE_UNROLLED
    for (int o = 0; o < kOut; ++o) {
      OTFUSE_UNROLLED
      for (int p = 0; p < kRows; ++p) own[o * kTile + p * kWarp] = sums.at[o][p];
    }
  }

  // Two warps take a plane each way, half of its rows each.
  OTFUSE_HD void finish(int t, const Tile& tile, const float* given) const {
    const int second = t / kWarp % 2, half = t / kWarp / 2;
    const int64_t z = tile.z + second, x = tile.x + t % kWarp;
    for (int r = half * kRows / 2; r < (half + 1) * kRows / 2; ++r) {
      const int64_t y = tile.y + r;
      if (z >= extent.z || y >= extent.y || x >= extent.x) continue;
      float sums[kOut];
      OTFUSE_UNROLLED
      for (int o = 0; o < kOut; ++o) {
        const float* m = given + o * kTile + r * kWarp + t % kWarp;
        constexpr int kNext = kOut * kTile;  // sum
        sums[o] = second == 0 ? m[0] + m[kNext] + m[2 * kNext]
                              : m[kNext] - m[2 * kNext] - m[3 * kNext];
      }
      op(tile.item, (z * extent.y + y) * extent.x + x, sums);
    }
  }
};

}  // namespace otfuse::cuda
