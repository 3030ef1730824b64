// SPDX-License-Identifier: BSD-3-Clause
// What an iteration of Richardson-Lucy does to arrays in space, where that is more than
// an operation between the frequencies (cuda/row_ops.hpp) can do: sums or differences
// between two passes, or convolutions that are torch's. Mirrors cpu/rl_steps.hpp. A
// thread takes some voxels of one item.
#pragma once

#include "cuda/points.hpp"
#include "cuda/total_variation.hpp"

namespace otfuse::cuda {

// formula.at(item, voxel, sums) for every voxel of an item of `count`.
template <class Formula>
struct VoxelPass {
  static constexpr int kThreads = 256;
  static constexpr int kBlocksPerMultiprocessor = 4;
  static constexpr int kEach = 4;  // voxels of a thread
  static constexpr int kRoom = kThreads + kSumGroups;

  Formula formula;
  int64_t count, batch;
  double* partial;  // (Formula::kSums, batch, groups); none: not wanted

  OTFUSE_HD static int64_t groups(int64_t count) {
    return (count + kThreads * kEach - 1) / (kThreads * kEach);
  }
  int64_t blocks() const { return groups(count) * batch; }
  int64_t shared_bytes() const {
    return Formula::kSums * kRoom * int64_t(sizeof(double));
  }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const int64_t item = block.index / groups(count);
    const int64_t first = block.index % groups(count) * kThreads * kEach;
    auto* const room = reinterpret_cast<double*>(block.shared());
    block.phase([&](int t) OTFUSE_PHASE {
      double sums[2] = {0, 0};
      for (int k = 0; k < kEach; ++k) {
        const int64_t i = first + k * kThreads + t;
        if (i < count) formula.at(item, i, sums);
      }
      if (partial == nullptr) return;
      for (int s = 0; s < Formula::kSums; ++s) room[s * kRoom + t] = sums[s];
    });
    if (partial == nullptr) return;
    for (int s = 0; s < Formula::kSums; ++s) {
      add_up<kThreads>(block, room + s * kRoom,
                       partial + s * batch * groups(count) + block.index);
    }
  }
};

// W = 1 / H^T 1 of the light in `values`; voxels that the camera hardly sees start, and
// stay, at 0. With a back projector of its own what is missing from 1.
template <class real_t>
struct WeighFormula {
  static constexpr int kSums = 0;
  const real_t* values;
  real_t *weight, *estimate;
  int64_t count;
  bool unmatched;

  OTFUSE_HD void at(int64_t item, int64_t voxel, double*) const {
    const int64_t i = item * count + voxel;
    const real_t light = values[i];
    if (unmatched) {
      weight[i] = 1 - light;
      return;
    }
    const bool seen = light > real_t(kLeastWeight);
    weight[i] = seen ? 1 / light : real_t(0);
    if (!seen) estimate[i] = 0;
  }
};

// The point that an iteration starts from, x or x + a (x - x_before); a is `step`, or for
// "biggs" the share of the last change that this one repeats.
template <class real_t>
struct PointFormula {
  static constexpr int kSums = 0;
  LoopArrays<real_t> arrays;
  int64_t count;
  real_t step;
  const double* sums;  // (batch, 2), of AdvanceFormula; none: step
  real_t* values;
  bool kept;  // in the place of x_before too

  OTFUSE_HD real_t share(int64_t item) const {
    const double product = sums[2 * item], square = sums[2 * item + 1];
    if (!(square > 0 && product > 0)) return 0;
    return product < square ? real_t(product / square) : real_t(1);
  }
  OTFUSE_HD void at(int64_t item, int64_t voxel, double*) const {
    const int64_t i = item * count + voxel;
    real_t point = arrays.estimate[i];
    if (arrays.previous != nullptr) {
      const real_t a = sums == nullptr ? step : share(item);
      point = arrays.weight_at(i) > 0
                  ? rl_momentum(point, arrays.previous[i], a, arrays.floor[item])
                  : real_t(0);
    }
    values[i] = point;
    if (kept) arrays.previous[i] = point;
  }
};

// The next estimate from the correction in `values`, in the place of the one before it
// where there are two; then the next point, which for "biggs" waits for the sums of
// changes times those before, and of the squares of these.
template <class real_t>
struct AdvanceFormula {
  static constexpr int kSums = 2;
  LoopArrays<real_t> arrays;
  int64_t count;
  Acceleration acceleration;
  real_t step, next_step;  // as in UpdateOp
  const real_t* shift;     // added to the correction; none: 0
  real_t* change;          // "biggs": what the last iteration added
  real_t* values;
  TotalVariation<real_t> variation;

  OTFUSE_HD void at(int64_t item, int64_t voxel, double* sums) const {
    const int64_t i = item * count + voxel;
    const real_t least = arrays.floor[item], w = arrays.weight_at(i);
    const real_t x = arrays.estimate[i], p = point(i, x, w, least);
    real_t correction = values[i];
    if (shift != nullptr) correction += shift[i];
    if (variation.weight > 0) {
      correction *= variation.damping(arrays.estimate + item * count, voxel, least);
    }
    // rounding may leave a correction just below 0
    const real_t lowest = arrays.clipped && w > 0 ? least : real_t(0);
    const real_t next = larger(real_t(p * correction * w), lowest);
    (arrays.previous == nullptr ? arrays.estimate : arrays.previous)[i] = next;
    if (acceleration == Acceleration::kBiggs) {
      const real_t moved = change[i], now = next - p;
      sums[0] += double(now) * double(moved);
      sums[1] += double(moved) * double(moved);
      change[i] = now;
      return;
    }
    const bool pushed = acceleration == Acceleration::kShb && w > 0;
    values[i] = pushed ? rl_momentum(next, x, next_step, least) : next;
  }

 private:
  OTFUSE_HD real_t point(int64_t i, real_t x, real_t w, real_t least) const {
    if (acceleration == Acceleration::kNone) return x;
    if (acceleration == Acceleration::kBiggs) return arrays.previous[i];
    return w > 0 ? rl_momentum(x, arrays.previous[i], step, least) : real_t(0);
  }
};

// 1 where the camera observed, else 0: negative pixels were not.
template <class real_t>
struct ObservedSource {
  using Place = FieldPlace<const real_t>;
  FieldSource<real_t> image;  // `outside` is negative

  OTFUSE_HD Place place(int64_t item, int64_t z, int64_t y, bool second) const {
    return image.place(item, z, y, second);
  }
  OTFUSE_HD Complex<real_t> enter(const Place& p, int x) const {
    const Complex<real_t> y = image.enter(p, x);
    return {real_t(y.re < 0 ? 0 : 1), real_t(y.im < 0 ? 0 : 1)};
  }
};

}  // namespace otfuse::cuda
