// SPDX-License-Identifier: BSD-3-Clause
// out = activation(bias + weight * (sources side by side + added)), zeros beyond the
// edges; mirrors cpu/conv_thin.hpp. A block makes a tile of one plane: 32 columns, and
// rows and groups of kOut channels that its four warps share between them. The input
// comes in segments, each a plane of one channel at one of the kernel's planes and at
// most kThinTaps of its columns; some of them at a time are staged in shared memory with
// their weights. Device memory: the sources once for every 32 channels of the result
// (from L2 where blocks share them), the result once. Multiply-adds: channels_in x taps x
// channels_out a voxel.
#pragma once

#include "cuda/thin_sums.hpp"

namespace otfuse::cuda {

template <class real_t>
struct ConvThinShape {  // what does not depend on the tile
  Extents extent, kernel;
  int64_t count;  // values of a plane; fewer than y x where the last row is not full
  ThinInputs<real_t> in;
  int channels_in, channels_out;
  const real_t *weight, *bias;
  ThinSource<real_t> start;  // or no data
  Activation activation;
  int activated;  // channels
  real_t* out;
  int64_t out_batch_stride, out_channel_stride;
};

template <class real_t, int kOut, int kRows>
struct ConvThinPass {
  static constexpr int kThreads = 128;
  static constexpr int kWarps = kThreads / kWarp;
  static constexpr int kBlocksPerMultiprocessor = sizeof(real_t) == 4 ? 4 : 3;
  static constexpr int kPixels = kThinRows<real_t>;
  static constexpr int kBatch = 5;  // rows that a warp loads at once

  ConvThinShape<real_t> s;
  int groups;                            // of kOut channels: 1, 2 or 4
  int tap_groups, width;                 // the kernel's columns: groups of some width
  Divider by_width, by_taps, by_planes;  // width; ky * width; kz * tap_groups
  int staged;                            // segments at a time
  int64_t tiles_x, tiles_y, channel_blocks;

  ConvThinPass(const ConvThinShape<real_t>& shape, const Limits& limits) : s(shape) {
    const int64_t kx = s.kernel.x, wanted = (s.channels_out + kOut - 1) / kOut;
    tap_groups = int((kx + kThinTaps - 1) / kThinTaps);
    width = int((kx + tap_groups - 1) / tap_groups);
    by_width = Divider(width);
    by_taps = Divider(s.kernel.y * width);
    by_planes = Divider(s.kernel.z * tap_groups);
    groups = wanted % 4 == 0 ? 4 : wanted % 2 == 0 ? 2 : 1;
    while (groups > 1 && segment_bytes() > limits.shared_bytes) groups /= 2;
    const int64_t all = segments(),
                  most = std::max<int64_t>(kStageBytes / segment_bytes(), 1);
    const int64_t rounds = (all + most - 1) / most;
    staged = int((all + rounds - 1) / rounds);
    tiles_x = (s.extent.x + kWarp - 1) / kWarp;
    tiles_y = (s.extent.y + rows() - 1) / rows();
    channel_blocks = (wanted + groups - 1) / groups;
  }

  int64_t blocks(int64_t batch) const {
    return channel_blocks * tiles_x * tiles_y * s.extent.z * batch;
  }
  int64_t shared_bytes() const { return staged * segment_bytes(); }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const Tile tile = tile_of(block.index);
    auto sums = block.template own<ThinSums<real_t, kOut>>();
    auto* const planes = reinterpret_cast<real_t*>(block.shared());
    real_t* const weights = planes + staged * plane();
    block.phase([&](int t) { begin(t, tile, sums(t)); });
    for (int first = 0; first < segments(); first += staged) {
      const int count = first + staged < segments() ? staged : segments() - first;
      block.phase([&](int t) {
        stage_weights(t, tile, first, count, weights);
        for (int i = 0; i < count; ++i) {
          stage_plane(t, tile, first + i, planes + i * plane());
        }
      });
      block.phase([&](int t) { add(t, count, planes, weights, sums(t)); });
    }
    block.phase([&](int t) { store(t, tile, sums(t)); });
  }

 private:
  struct Tile {
    int64_t item, z, y, x;
    int channel;  // the first one of the result
  };

  OTFUSE_HD int rows() const { return kWarps / groups * kPixels; }
  OTFUSE_HD int staged_rows() const { return rows() + int(s.kernel.y) - 1; }
  OTFUSE_HD int plane() const { return staged_rows() * kThinPitch; }
  OTFUSE_HD int taps() const { return int(s.kernel.y) * width; }
  OTFUSE_HD int pitch() const { return weight_pitch(groups * kOut); }
  OTFUSE_HD int segments() const { return s.channels_in * int(s.kernel.z) * tap_groups; }
  OTFUSE_HD int64_t segment_bytes() const {
    return int64_t(plane() + taps() * pitch()) * int64_t(sizeof(real_t));
  }

  OTFUSE_HD Tile tile_of(int64_t index) const {
    const int channel = int(index % channel_blocks) * groups * kOut;
    index /= channel_blocks;
    const int64_t x = index % tiles_x * kWarp;
    index /= tiles_x;
    const int64_t y = index % tiles_y * rows();
    index /= tiles_y;
    return {index / s.extent.z, index % s.extent.z, y, x, channel};
  }

  // Of a thread: its channels' group, and the first of its rows in the tile.
  OTFUSE_HD int group(int t) const { return t / kWarp % groups; }
  OTFUSE_HD int row(int t) const { return t / kWarp / groups * kPixels; }

  OTFUSE_HD void begin(int t, const Tile& tile, ThinSums<real_t, kOut>& sums) const {
    const int first = tile.channel + group(t) * kOut;
    OTFUSE_UNROLLED
    for (int o = 0; o < kOut; ++o) {
      const bool has = s.bias != nullptr && first + o < s.channels_out;
      const real_t b = has ? s.bias[first + o] : real_t(0);
      OTFUSE_UNROLLED
      for (int p = 0; p < kPixels; ++p) sums.at[o][p] = b;
    }
  }

  // Channel of the input, plane of the kernel and group of its columns.
  struct Segment {
    int channel, dz, columns;
  };
  OTFUSE_HD Segment segment(int i) const {
    const int channel = by_planes.quotient(i);
    const int rest = i - channel * int(s.kernel.z) * tap_groups;
    if (tap_groups == 1) return {channel, rest, 0};
    return {channel, rest / tap_groups, rest % tap_groups};
  }

  // [segment][dy][dx][channel of the result]; a warp takes some of the channels, or with
  // fewer of these than warps a thread all of them.
  OTFUSE_HD void stage_weights(int t, const Tile& tile, int first, int count,
                               real_t* to) const {
    constexpr bool kFew = kOut < kWarps;
    constexpr int kStep = kFew ? kThreads : kWarp;
    const int64_t per_out = s.channels_in * s.kernel.z * s.kernel.y * s.kernel.x;
    for (int u = t % kStep; u < count * taps(); u += kStep) {
      const int i = by_taps.quotient(u), tap = u - i * taps();
      const int dy = by_width.quotient(tap);
      const Segment at = segment(first + i);
      const int64_t dx = tap - dy * width + at.columns * width;
      const int64_t row = (at.channel * s.kernel.z + at.dz) * s.kernel.y + dy;
      const real_t* from = s.weight + row * s.kernel.x + dx;
      real_t values[kOut];
      OTFUSE_UNROLLED
      for (int j = 0; j < kOut; ++j) {
        const int c = kFew ? j : t / kWarp + j * kWarps;
        const int64_t out = tile.channel + c;
        const bool has = c < groups * kOut && out < s.channels_out && dx < s.kernel.x;
        values[j] = has ? from[out * per_out] : real_t(0);
      }
      OTFUSE_UNROLLED
      for (int j = 0; j < kOut; ++j) {
        const int c = kFew ? j : t / kWarp + j * kWarps;
        if (c < groups * kOut) to[u * pitch() + c] = values[j];
      }
    }
  }

  OTFUSE_HD void stage_plane(int t, const Tile& tile, int i, real_t* to) const {
    const Segment at = segment(i);
    const int64_t z = tile.z + at.dz - s.kernel.z / 2;
    const int64_t y = tile.y - s.kernel.y / 2;
    const int64_t x = tile.x - s.kernel.x / 2 + at.columns * width;
    const bool inside = z >= 0 && z < s.extent.z;
    const int64_t offset = inside ? z * s.extent.y * s.extent.x : 0;
    const real_t* from = s.in.channel(tile.item, at.channel) + offset;
    const real_t* added = s.in.added.data;
    if (added != nullptr) added += tile.item * s.in.added.batch_stride + offset;
    const auto value = [&](const real_t* plane, int r, int c) OTFUSE_LAMBDA {
      const int64_t v = y + r, u = x + c, k = v * s.extent.x + u;
      const bool has = inside && v >= 0 && u >= 0 && u < s.extent.x && k < s.count;
      return has ? plane[k] : real_t(0);
    };
    const auto fill = [&](auto load) {
      stage<kThreads, kBatch>(t, staged_rows(), kWarp + width - 1, load,
                              [&](int r, int c, real_t v)
                                  OTFUSE_LAMBDA { to[r * kThinPitch + c] = v; });
    };
    if (added == nullptr) {
      fill([&](int r, int c) OTFUSE_LAMBDA { return value(from, r, c); });
    } else {
      fill([&](int r, int c)
               OTFUSE_LAMBDA { return value(from, r, c) + value(added, r, c); });
    }
  }

  OTFUSE_HD void add(int t, int count, const real_t* planes, const real_t* weights,
                     ThinSums<real_t, kOut>& sums) const {
    const real_t* from = planes + row(t) * kThinPitch + t % kWarp;
    const real_t* w = weights + group(t) * kOut;
    for (int i = 0; i < count; ++i, from += plane()) {
      for (int dy = 0; dy < s.kernel.y; dy += kRows, w += (kRows - 1) * width * pitch()) {
        for (int dx = 0; dx < width; ++dx, w += pitch()) {
          add_taps<kRows, kThinPitch>(sums, from + dy * kThinPitch + dx, w,
                                      width * pitch());
        }
      }
    }
  }

  OTFUSE_HD void store(int t, const Tile& tile,
                       const ThinSums<real_t, kOut>& sums) const {
    const int64_t x = tile.x + t % kWarp, y = tile.y + row(t);
    const int first = tile.channel + group(t) * kOut;
    const int64_t plane = tile.z * s.extent.y * s.extent.x;
    real_t* const to =
        s.out + tile.item * s.out_batch_stride + first * s.out_channel_stride + plane;
    const real_t* start = s.start.data;
    if (start != nullptr) {
      start += tile.item * s.start.batch_stride + first * s.start.channel_stride + plane;
    }
    OTFUSE_UNROLLED
    for (int o = 0; o < kOut; ++o) {
      const auto act = first + o < s.activated ? s.activation : Activation::kNone;
      OTFUSE_UNROLLED
      for (int p = 0; p < kPixels; ++p) {
        const int64_t k = (y + p) * s.extent.x + x;
        if (first + o >= s.channels_out || x >= s.extent.x || k >= s.count) continue;
        real_t sum = sums.at[o][p];
        if (start != nullptr) sum += start[o * s.start.channel_stride + k];
        to[o * s.out_channel_stride + k] = activated(sum, act);
      }
    }
  }
};

// A kernel of one place takes its planes for rows of 32 values: no edges in between.
template <class real_t>
ConvThinShape<real_t> conv_thin_shape(const ConvThinParams<real_t>& p) {
  const int64_t count = p.extent.count();
  const bool point = p.kernel.count() == 1;
  return {point ? Extents{1, (count + kWarp - 1) / kWarp, kWarp} : p.extent,
          p.kernel,
          point ? count : p.extent.y * p.extent.x,
          ThinInputs<real_t>(p.sources, p.added),
          int(p.channels_in),
          int(p.channels_out),
          p.weight,
          p.bias,
          p.start,
          p.activation,
          int(p.activated),
          p.out,
          p.out_batch_stride,
          p.out_channel_stride};
}

template <class real_t, class Launch>
void conv_thin(const ConvThinParams<real_t>& p, const Launch& launch) {
  const ConvThinShape<real_t> shape = conv_thin_shape(p);
  const auto run = [&](auto out, auto rows) {
    const ConvThinPass<real_t, decltype(out)::value, decltype(rows)::value> pass(
        shape, launch.limits);
    launch(pass, pass.blocks(p.batch), pass.shared_bytes());
  };
  const auto with_rows = [&](auto out) {
    if (p.kernel.y % 3 == 0) return run(out, Index<3>{});
    p.kernel.y % 5 == 0 ? run(out, Index<5>{}) : run(out, Index<1>{});
  };
  if (p.channels_out == 1) return with_rows(Index<1>{});
  p.channels_out <= 4 ? with_rows(Index<4>{}) : with_rows(Index<8>{});
}

}  // namespace otfuse::cuda
