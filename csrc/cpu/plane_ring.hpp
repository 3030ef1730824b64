// SPDX-License-Identifier: BSD-3-Clause
// Planes of a volume that is worked through along z, a few at a time. A plane has one row
// of zeros above and one below, a vector of zeros before each row, and zeros from the end
// of each row to a whole vector: neighbours of any voxel can be read, and are 0 outside.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/params.hpp"
#include "cpu/simd.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

inline constexpr int kFloatLanes = Simd<float>::kLanes;

struct PlaneShape {
  int64_t nz, ny, nx;

  int64_t vectors() const { return (nx + kFloatLanes - 1) / kFloatLanes; }
  int64_t pitch() const { return (vectors() + 1) * kFloatLanes; }
  // One vector more for the neighbour of the last voxel.
  int64_t floats() const { return (ny + 2) * pitch() + kFloatLanes; }
  int64_t row(int64_t y) const { return (y + 1) * pitch() + kFloatLanes; }
};

// The last `kept` planes of some channels.
struct PlaneRing {
  PlaneShape shape{};
  int channels = 0, kept = 0;
  float* data = nullptr;
  const float* zeros = nullptr;  // a plane

  int64_t floats() const { return int64_t(kept) * channels * shape.floats(); }
  float* plane(int channel, int64_t z) const {
    return data + ((z % kept) * channels + channel) * shape.floats();
  }
  // For reading: zeros before the first plane and after the last.
  const float* any_plane(int channel, int64_t z) const {
    return z < 0 || z >= shape.nz ? zeros : plane(channel, z);
  }
};

// Stores a vector of a row; lanes from the end of the row on become 0.
OTFUSE_HD void store_in_row(float* row, int64_t x, int64_t nx, Lanes<float> v) {
  if (x + kFloatLanes > nx) {
    alignas(kVectorBytes) float lanes[kFloatLanes];
    store_aligned(lanes, v);
    for (int64_t i = std::max<int64_t>(nx - x, 0); i < kFloatLanes; ++i) lanes[i] = 0;
    v = load_aligned(lanes);
  }
  store_aligned(row + x, v);
}

OTFUSE_END_ISA_NAMESPACE
