// SPDX-License-Identifier: BSD-3-Clause
// Planes interpolated bilinearly between pixel centres, edges continued: 2 or 4 times as
// large, or half; and strided picks; mirrors cpu/thin_resize.hpp. A thread makes a pixel.
// Device memory: the source once from L2, the result once.
#pragma once

#include "core/phases.hpp"
#include "core/thin_params.hpp"

namespace otfuse::cuda {

template <class real_t>
struct ResizePass {
  static constexpr int kThreads = 256;
  static constexpr int kBlocksPerMultiprocessor = 4;

  ThinSource<real_t> from;
  real_t* to;
  int64_t to_batch_stride, to_channel_stride;
  Extents taken, given;  // one plane each
  bool pick;             // instead of the mean, where the result is smaller

  int64_t blocks(int64_t batch) const { return tiles() * from.channels * batch; }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const int64_t plane = block.index / tiles();
    const int64_t item = plane / from.channels, channel = plane % from.channels;
    const real_t* source =
        from.data + item * from.batch_stride + channel * from.channel_stride;
    real_t* target = to + item * to_batch_stride + channel * to_channel_stride;
    block.phase([&](int t) {
      const int64_t i = block.index % tiles() * kThreads + t;
      if (i < given.y * given.x) target[i] = value(source, i / given.x, i % given.x);
    });
  }

 private:
  OTFUSE_HD int64_t tiles() const {
    return (given.y * given.x + kThreads - 1) / kThreads;
  }

  // The two pixels that output i lies between, and the share of the second.
  struct Between {
    int64_t near, other;
    real_t far;
  };
  OTFUSE_HD static Between between(int64_t i, int64_t factor, int64_t n) {
    const int64_t near = i / factor;
    const real_t offset =
        (real_t(i % factor) + real_t(0.5)) / real_t(factor) - real_t(0.5);
    int64_t other = near + (offset < 0 ? -1 : 1);
    other = other < 0 ? 0 : other > n - 1 ? n - 1 : other;
    return {near, other, offset < 0 ? -offset : offset};
  }

  OTFUSE_HD real_t value(const real_t* source, int64_t y, int64_t x) const {
    if (taken.x >= given.x) {
      const int64_t step = taken.x / given.x;
      const real_t* a = source + y * step * taken.x + x * step;
      if (pick) return *a;
      return real_t(0.25) * ((a[0] + a[1]) + (a[taken.x] + a[taken.x + 1]));
    }
    const int64_t factor = given.x / taken.x;
    const Between v = between(y, factor, taken.y), u = between(x, factor, taken.x);
    const real_t *a = source + v.near * taken.x, *b = source + v.other * taken.x;
    const real_t close = 1 - v.far;
    return u.far * (v.far * b[u.other] + close * a[u.other]) +
           (1 - u.far) * (v.far * b[u.near] + close * a[u.near]);
  }
};

}  // namespace otfuse::cuda
