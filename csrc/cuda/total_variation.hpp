// SPDX-License-Identifier: BSD-3-Clause
// The total variation's part in an update; mirrors cpu/total_variation.hpp, where the
// equation and its source stand. A voxel takes four gradients, its own and those before
// it on each axis: ten values, of which the cache has nine.
#pragma once

#include <cmath>
#include <limits>

#include "core/params.hpp"
#include "core/pointwise.hpp"

namespace otfuse::cuda {

// The divisor stays above this, or an update would blow up.
inline constexpr double kLeastDivisor = 0.1;
// Gradients well below this many floors (a thousandth of the image's mean) count as flat.
inline constexpr double kFlatFloors = 1e3;
template <class real_t>
inline constexpr real_t kLeastNormal = std::numeric_limits<real_t>::min();

template <class real_t>
struct TotalVariation {
  Extents grid;
  real_t weight;  // 0: none
  real_t per_z, per_y, per_x;

  explicit TotalVariation(const RichardsonLucyParams<real_t>& p)
      : grid(p.grid), weight(p.tv), per_z(p.per_z), per_y(p.per_y), per_x(p.per_x) {}

  // Of voxel i of an item, whose estimate begins at x.
  OTFUSE_HD real_t damping(const real_t* x, int64_t i, real_t floor) const {
    const real_t flat = real_t(kFlatFloors) * floor;
    const real_t flat_square = larger(real_t(flat * flat), real_t(kLeastNormal<real_t>));
    const int64_t row = i / grid.x;
    const Axis ax(i - row * grid.x, grid.x, 1);
    const Axis ay(row % grid.y, grid.y, grid.x);
    const Axis az(row / grid.y, grid.z, grid.y * grid.x);
    const auto flow = [&](int64_t at, int64_t right, int64_t up, int64_t deep) {
      const real_t v = x[at];
      const Gradient g{(x[at + right] - v) * per_x, (x[at + up] - v) * per_y,
                       (x[at + deep] - v) * per_z};
      const real_t r = 1 / std::sqrt(g.x * g.x + g.y * g.y + g.z * g.z + flat_square);
      return Gradient{g.x * r, g.y * r, g.z * r};
    };
    const Gradient here = flow(i, ax.next, ay.next, az.next);
    const Gradient left = flow(i - ax.before, ax.before, ay.next, az.next);
    const Gradient below = flow(i - ay.before, ax.next, ay.before, az.next);
    real_t divergence = (here.x - left.x) * per_x + (here.y - below.y) * per_y;
    if (grid.z > 1) {
      const Gradient behind = flow(i - az.before, ax.next, ay.next, az.before);
      divergence += (here.z - behind.z) * per_z;
    }
    return 1 / larger(real_t(1 - weight * divergence), real_t(kLeastDivisor));
  }

 private:
  struct Gradient {
    real_t x, y, z;
  };
  // How far the neighbours along an axis are, around the grid's ends.
  struct Axis {
    int64_t next, before;
    OTFUSE_HD Axis(int64_t i, int64_t n, int64_t stride)
        : next((i + 1 == n ? 1 - n : 1) * stride),
          before((i == 0 ? 1 - n : 1) * stride) {}
  };
};

}  // namespace otfuse::cuda
