// SPDX-License-Identifier: BSD-3-Clause
// How an image is cut into the jobs of a thin-channel convolution, and rows of any length
// in whole vectors.
#pragma once

#include <cstring>

#include "cpu/softplus.hpp"
#include "cpu/thin_kernel.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Elements of a row from x on, zeros beyond its ends.
template <class real_t>
__attribute__((noinline)) Lanes<real_t> load_part(const real_t* row, int64_t x,
                                                  int64_t nx) {
  constexpr int kLanes = Simd<real_t>::kLanes;
  real_t part[kLanes] = {};
  for (int64_t i = std::max<int64_t>(0, -x); i < std::min<int64_t>(kLanes, nx - x); ++i) {
    part[i] = row[x + i];
  }
  return load_unaligned(part);
}

template <class real_t>
OTFUSE_HD Lanes<real_t> load_clipped(const real_t* row, int64_t x, int64_t nx) {
  if (x >= 0 && x + Simd<real_t>::kLanes <= nx) return load_unaligned(row + x);
  return load_part(row, x, nx);
}

template <class real_t>
__attribute__((noinline)) void store_part(real_t* row, int64_t x, int64_t nx,
                                          const Lanes<real_t>& v) {
  std::memcpy(row + x, &v, size_t(nx - x) * sizeof(real_t));
}

template <class real_t>
OTFUSE_HD void store_clipped(real_t* row, int64_t x, int64_t nx, const Lanes<real_t>& v) {
  if (x + Simd<real_t>::kLanes <= nx) return store_unaligned(row + x, v);
  store_part(row, x, nx, v);
}

// Long; where another activation is meant, it would only be in the way.
template <class real_t>
__attribute__((noinline)) Lanes<real_t> softplus_apart(const Lanes<real_t>& v) {
  return softplus_of_lanes<real_t>(v);
}

template <class real_t>
OTFUSE_HD Lanes<real_t> activate(Activation activation, const Lanes<real_t>& v) {
  if (activation == Activation::kRelu) return relu(v);
  if (activation == Activation::kSoftplus) return softplus_apart<real_t>(v);
  return v;
}

// How the image is cut into jobs and how a job's lines lie.
template <class real_t>
struct ThinCut {
  static constexpr int kLanes = Simd<real_t>::kLanes;
  // Lines of a job stay in the L2 cache; long ones are read from memory in long pieces.
  static constexpr int64_t kWidest = 384, kColumns = 256, kStagedBytes = 384 << 10;
  static constexpr int64_t kBandBytes = 1 << 18;
  static constexpr int64_t kFoldedRows = 64;  // rows at the ends of a band are made twice

  int64_t columns, pad;    // of a line, and whole lanes on either side of them
  int64_t width, stride;   // of a line with these, and to the next line
  int64_t rows, lines;     // output rows of a job and lines staged for a plane
  int64_t bands, stripes;  // jobs in y and in x
  int64_t slot;            // reals of one plane's lines

  ThinCut(const ThinKernel<real_t>& k, const Extents& n) {
    columns = n.x <= kWidest ? n.x : columns_of_stripe(k, n.x);
    pad = round_up(k.kernel.x / 2);
    width = round_up(columns) + 2 * pad;
    stride = (width / kLanes | 1) * kLanes;  // odd: lines in a row share no cache set
    rows = k.tile;
    if (k.folded) {
      rows = std::min<int64_t>(kFoldedRows, n.y);
    } else if (k.points == 1) {
      const int64_t line = k.channels_in * stride * int64_t(sizeof(real_t));
      rows = std::clamp(kBandBytes / (line * k.kernel.z), std::min(k.kernel.y, n.y), n.y);
    }
    lines = k.folded ? 1 : k.points == 1 ? rows + k.kernel.y - 1 : k.points;
    bands = ceil_div(n.y, rows);
    stripes = ceil_div(n.x, columns);
    slot = lines * k.channels_in * stride;
  }

  // Stripes of one extent, as wide as may be.
  static int64_t columns_of_stripe(const ThinKernel<real_t>& k, int64_t nx) {
    const int64_t column = k.points * k.channels_in * int64_t(sizeof(real_t));
    const int64_t most = std::max(kColumns, kStagedBytes / column);
    const int64_t stripes = ceil_div(nx, most);
    return round_up(ceil_div(nx, stripes));
  }

  static int64_t round_up(int64_t n) { return ceil_div(n, kLanes) * kLanes; }
};

OTFUSE_END_ISA_NAMESPACE
