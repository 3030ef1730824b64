// SPDX-License-Identifier: BSD-3-Clause
// Bilinear interpolation of planes between pixel centres, edges continued: 2 or 4 times
// as large, or half (where it is the mean of 2 x 2); and strided picks. One channel a
// call.
#pragma once

#include <algorithm>

#include "core/params.hpp"
#include "cpu/simd.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Output kFactor i + p lies between i - 1 and i for the first half of the phases p,
// between i and i + 1 for the others: offset from i, in pixels of the input.
template <int kFactor>
constexpr double phase_offset(int phase) {
  return (phase + 0.5) / kFactor - 0.5;
}

// from[-1] and from[n] are readable: the edges continued.
template <int kFactor, class real_t>
OTFUSE_KERNEL void enlarge_row(const real_t* __restrict__ from, int64_t n,
                               real_t* __restrict__ to) {
  for (int64_t i = 0; i < n; ++i) {
    unroll<kFactor>([&](auto phase) OTFUSE_LAMBDA {
      constexpr double offset = phase_offset<kFactor>(decltype(phase)::value);
      constexpr real_t far = real_t(offset < 0 ? -offset : offset);
      const real_t other = offset < 0 ? from[i - 1] : from[i + 1];
      to[kFactor * i + phase] = far * other + (1 - far) * from[i];
    });
  }
}

// `row` holds a row of the input and one element on either side.
template <int kFactor, class real_t>
void enlarge_plane(const real_t* from, const Extents& n, real_t* row, real_t* to) {
  for (int64_t y = 0; y < kFactor * n.y; ++y) {
    const int phase = int(y % kFactor);
    const double offset = (phase + 0.5) / kFactor - 0.5;
    const int64_t near = y / kFactor;
    const int64_t other = std::clamp<int64_t>(near + (offset < 0 ? -1 : 1), 0, n.y - 1);
    const real_t far = real_t(offset < 0 ? -offset : offset), close = 1 - far;
    const real_t *a = from + near * n.x, *b = from + other * n.x;
    for (int64_t x = 0; x < n.x; ++x) row[x + 1] = far * b[x] + close * a[x];
    row[0] = row[1];
    row[n.x + 1] = row[n.x];
    enlarge_row<kFactor>(row + 1, n.x, to + y * kFactor * n.x);
  }
}

// `n`: extents of the result.
template <class real_t>
void halve_plane(const real_t* from, const Extents& n, real_t* to) {
  for (int64_t y = 0; y < n.y; ++y) {
    const real_t *a = from + 4 * y * n.x, *b = a + 2 * n.x;
    for (int64_t x = 0; x < n.x; ++x) {
      to[y * n.x + x] =
          real_t(0.25) * ((a[2 * x] + a[2 * x + 1]) + (b[2 * x] + b[2 * x + 1]));
    }
  }
}

template <class real_t>
void pick_plane(const real_t* from, int64_t row, int64_t step, const Extents& n,
                real_t* to) {
  for (int64_t y = 0; y < n.y; ++y) {
    for (int64_t x = 0; x < n.x; ++x) to[y * n.x + x] = from[y * step * row + x * step];
  }
}

OTFUSE_END_ISA_NAMESPACE
