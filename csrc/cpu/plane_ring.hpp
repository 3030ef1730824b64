// SPDX-License-Identifier: BSD-3-Clause
// Planes of a volume that is worked through in strips of rows, and in each along z, a few
// planes at a time. A plane has rows of zeros above and one below, a vector of zeros
// before each row, and zeros from the end of each row to a whole vector: neighbours of
// any voxel can be read, and are 0 outside. Where a strip begins within the volume, the
// rows above are the last ones of the strip before.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/params.hpp"
#include "core/rln_params.hpp"
#include "cpu/simd.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

inline constexpr int kFloatLanes = Simd<float>::kLanes;

struct PlaneShape {
  int64_t nz, ny, nx;

  int64_t vectors() const { return ceil_div(nx, kFloatLanes); }
  int64_t pitch() const { return (vectors() + 1) * kFloatLanes; }
  int64_t row(int64_t y) const { return y * pitch(); }
};

// The rows of strip s of `strips`, of a stage that lags behind the first.
inline Rows rows_of_strip(int64_t s, int64_t strips, int64_t ny, int64_t step,
                          int64_t lag) {
  const auto edge = [&](int64_t i) {
    return i == strips ? ny : std::clamp<int64_t>(i * step - lag, 0, ny);
  };
  return {edge(s), edge(s + 1)};
}

// Room for rows above a strip that stages still read.
inline constexpr int kRowsAbove = 3;

// The rows of the present strip in the last `kept` planes of some channels.
struct PlaneRing {
  PlaneShape shape{};  // of the whole volume
  int channels = 0, kept = 0;
  int64_t step = 0;  // rows from strip to strip
  int lag = 0;       // rows that a strip begins before the first stage's
  int read_lag = 0;  // the same of the last stage that reads from the row before its own
  Rows rows{};       // of the present strip
  float* data = nullptr;
  const float* zeros = nullptr;  // a plane
  float* above = nullptr;        // the last rows of each plane of the strip before

  // At half resolution an odd last row is nobody's: a strip may have one row more. One
  // vector more for the neighbour of the last voxel.
  int64_t plane_floats() const {
    const int64_t rows_most = std::min(shape.ny, step + 1);
    return (kRowsAbove + rows_most + 1) * shape.pitch() + 2 * kFloatLanes;
  }
  int64_t floats() const { return int64_t(kept) * channels * plane_floats(); }
  // Rows kept of the strip before.
  int64_t rows_above() const { return std::max(0, read_lag - lag + 1); }
  int64_t floats_above() const {
    return channels * shape.nz * rows_above() * shape.pitch();
  }
  // Where row 0 of the volume would be in a plane that begins at `stored`.
  template <class T>
  T* origin(T* stored) const {
    return stored + kFloatLanes + (kRowsAbove - rows.begin) * shape.pitch();
  }
  float* plane(int channel, int64_t z) const {
    return origin(data + ((z % kept) * channels + channel) * plane_floats());
  }
  // For reading: zeros before the first plane and after the last.
  const float* any_plane(int channel, int64_t z) const {
    return z < 0 || z >= shape.nz ? origin(zeros) : plane(channel, z);
  }
  float* above_plane(int channel, int64_t z) const {
    return above + (channel * shape.nz + z) * rows_above() * shape.pitch();
  }
};

// What is around the rows that a strip makes of a plane.
inline void surround(const PlaneRing& ring, int64_t z) {
  const PlaneShape& s = ring.shape;
  const int64_t rows = ring.rows.begin == 0 ? kRowsAbove : ring.rows_above();
  const int64_t floats = std::max<int64_t>(0, rows * s.pitch() - kFloatLanes);
#pragma omp for schedule(static) nowait
  for (int c = 0; c < ring.channels; ++c) {
    float* plane = ring.plane(c, z);
    float* first = plane + s.row(ring.rows.begin - rows);
    if (ring.rows.begin == 0) {
      std::fill(first, first + floats, 0.0f);
    } else {
      std::memcpy(first, ring.above_plane(c, z), size_t(floats) * sizeof(float));
    }
    if (ring.rows.end == s.ny) {
      float* below = plane + s.row(s.ny);
      std::fill(below, below + s.pitch() - kFloatLanes, 0.0f);
    }
  }
}

// Keeps what the next strip has above its own rows.
inline void keep_last_rows(const PlaneRing& ring, int64_t z) {
  const PlaneShape& s = ring.shape;
  const int64_t rows = ring.rows_above();
  const int64_t floats = std::max<int64_t>(0, rows * s.pitch() - kFloatLanes);
#pragma omp for schedule(static) nowait
  for (int c = 0; c < ring.channels; ++c) {
    std::memcpy(ring.above_plane(c, z), ring.plane(c, z) + s.row(ring.rows.end - rows),
                size_t(floats) * sizeof(float));
  }
}

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
