// SPDX-License-Identifier: BSD-3-Clause
// Arithmetic of windows on the periodic grid.
#pragma once

#include "core/params.hpp"
#include "core/platform.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// The index inside the window of grid place i, or -1 outside it.
OTFUSE_HD int64_t window_index(int64_t i, int64_t offset, int64_t extent, int64_t grid) {
  const int64_t k = i >= offset ? i - offset : i - offset + grid;
  return k < extent ? k : -1;
}

// Whether plane z of the grid holds some of a window.
OTFUSE_HD bool has_plane(const Window& w, const Extents& grid, int64_t z) {
  return window_index(z, w.offset.z, w.extent.z, grid.z) >= 0;
}

// Grid row (z, y) of item b of a field; null outside the window.
template <class real_t>
OTFUSE_HD real_t* field_row(const Field<real_t>& f, const Extents& grid, int64_t b,
                            int64_t z, int64_t y) {
  const Window& w = f.window;
  const int64_t iz = window_index(z, w.offset.z, w.extent.z, grid.z);
  const int64_t iy = window_index(y, w.offset.y, w.extent.y, grid.y);
  if (iz < 0 || iy < 0) return nullptr;
  return f.data + b * f.batch_stride + iz * f.stride.z + iy * f.stride.y;
}

// The planes and rows, counted from 0, that a window touches: what lies beyond is pruned.
inline Extents reach(const Window& w, const Extents& grid) {
  const auto axis = [](int64_t offset, int64_t extent, int64_t n) {
    return offset + extent > n || offset > 0 ? n : extent;
  };
  return {axis(w.offset.z, w.extent.z, grid.z), axis(w.offset.y, w.extent.y, grid.y),
          axis(w.offset.x, w.extent.x, grid.x)};
}

OTFUSE_END_ISA_NAMESPACE
