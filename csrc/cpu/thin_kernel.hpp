// SPDX-License-Identifier: BSD-3-Clause
// The weights of a thin-channel convolution in the order in which its loops read them,
// and how many rows they make at once: rows are filtered minimally (core/winograd.hpp)
// where the kernel has 3 or 5 of them, and multiplied out otherwise.
#pragma once

#include <algorithm>
#include <vector>

#include "core/thin_params.hpp"
#include "core/winograd.hpp"
#include "cpu/thin_block.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Output channels that share a block of registers.
struct ThinChannels {
  int64_t first;
  int valid, width;  // width: channels computed, see thin_block
  int64_t weights;   // where its weights begin, in reals
};

template <class real_t>
class ThinKernel {
 public:
  int64_t channels_in, channels_out;
  Extents kernel;
  int points, tile;  // products for each `tile` output rows; 1, 1: multiplied out
  bool folded;       // the kernel's rows are channels of a kernel of one row
  std::vector<ThinChannels> blocks;

  ThinKernel(const real_t* weight, int64_t channels_in, int64_t channels_out,
             const Extents& kernel, int64_t ny)
      : channels_in(channels_in), channels_out(channels_out), kernel(kernel) {
    const bool filtered = ny > 2 && channels_in * channels_out > kFewProducts;
    points = !filtered ? 1 : kernel.y == 3 ? 6 : kernel.y == 5 ? 8 : 1;
    tile = points == 1 ? 1 : 4;
    folded = points == 1 && kernel.z == 1 && kernel.y > 1 &&
             channels_out * kernel.y <= kMostFolded;
    const int64_t channels = folded ? channels_out * kernel.y : channels_out;
    int64_t size = 0;
    for (int64_t first = 0; first < channels;) {
      const int64_t left = channels - first;
      const int width = left == 1 ? 1 : left <= 4 ? 4 : kWidestBlock;
      const int valid = int(std::min<int64_t>(left, width));
      blocks.push_back({first, valid, width, size});
      size += points * groups() * group_size(width);
      first += valid;
    }
    packed_.resize(size_t(size));
    for (const ThinChannels& block : blocks) {
      for (int c = 0; c < block.valid; ++c) pack(weight, block, c);
    }
  }

  // Offsets in z and y that a block of registers sums over.
  int64_t groups() const {
    return points == 1 && !folded ? kernel.z * kernel.y : kernel.z;
  }
  const real_t* weights(const ThinChannels& block, int point, int64_t group) const {
    return packed_.data() + block.weights +
           (point * groups() + group) * group_size(block.width);
  }

 private:
  // Below this the transforms cost more than the products that they save.
  static constexpr int64_t kFewProducts = 8;
  // Few outputs leave most of a block of registers empty, unless rows fill it.
  static constexpr int64_t kMostFolded = 16;

  std::vector<real_t>
      packed_;  // (block, point, group, channel in, x, channel of the block)

  int64_t group_size(int width) const { return channels_in * kernel.x * width; }

  real_t& at(const ThinChannels& block, int c, int point, int64_t group, int64_t channel,
             int64_t x) {
    const int64_t offset = (channel * kernel.x + x) * block.width + c;
    return packed_[size_t(weights(block, point, group) - packed_.data() + offset)];
  }

  void pack(const real_t* weight, const ThinChannels& block, int c) {
    const int64_t rows = folded ? kernel.y : 1, row = (block.first + c) % rows;
    const real_t* w = weight + (block.first + c) / rows * channels_in * kernel.count();
    for (int64_t i = 0; i < channels_in * kernel.z; ++i, w += kernel.y * kernel.x) {
      const int64_t channel = i / kernel.z, z = i % kernel.z;
      for (int64_t x = 0; x < kernel.x; ++x) {
        if (folded) {
          at(block, c, 0, 0, channel, x) = w[row * kernel.x + x];
        } else if (points == 1) {
          for (int64_t y = 0; y < kernel.y; ++y) {
            at(block, c, 0, z * kernel.y + y, channel, x) = w[y * kernel.x + x];
          }
        } else {
          pack_filter(w + x, block, c, z, channel, x);
        }
      }
    }
  }

  // A column of the kernel, from w on, evaluated at the points.
  void pack_filter(const real_t* w, const ThinChannels& block, int c, int64_t z,
                   int64_t channel, int64_t x) {
    double column[5], filter[8];
    for (int64_t y = 0; y < kernel.y; ++y) column[y] = double(w[y * kernel.x]);
    if (points == 6) filter_weights<6>(column, int(kernel.y), filter);
    if (points == 8) filter_weights<8>(column, int(kernel.y), filter);
    for (int p = 0; p < points; ++p) at(block, c, p, z, channel, x) = real_t(filter[p]);
  }
};

OTFUSE_END_ISA_NAMESPACE
