// SPDX-License-Identifier: BSD-3-Clause
// What happens to the values of a pair of rows (y and y + 1; the second may be missing)
// between the frequencies. Each operation prepares a Place for a pair and then serves its
// values, the rows' as real and imaginary part:
//   enter(place, x)                  what is transformed
//   leave(place, x, value)           takes what was transformed back
//   turn(place, x, value, held, sum) both; held is what fetch(place, x) has read before
// `gives` and `takes` tell how large what it enters or leaves with is.
#pragma once

#include <cmath>

#include "core/pointwise.hpp"
#include "core/window.hpp"
#include "cuda/line_fft.hpp"

namespace otfuse::cuda {

// Below this share of its light seen by the camera a voxel is not restored.
inline constexpr double kLeastWeight = 0.01;

// a of iteration k, counted from 1: x + a (x - x_before).
template <class real_t>
OTFUSE_HD real_t momentum_step(int64_t k) {
  return real_t(double(k - 1) / double(k + 2));
}

// What an operation's values are, which decides how spectra of them are scaled in half
// precision: as large as the estimate, or about 1.
enum class Quantity { kLight, kRatio };

template <class real_t>
struct FieldPlace {
  real_t *first = nullptr, *second = nullptr;  // rows; null outside the array's window
};

template <class real_t>
OTFUSE_HD FieldPlace<real_t> field_place(const Field<real_t>& f, const Extents& grid,
                                         int64_t item, int64_t z, int64_t y,
                                         bool second) {
  return {field_row(f, grid, item, z, y),
          second ? field_row(f, grid, item, z, y + 1) : nullptr};
}

// As window_index, in 32 bits: an axis is shorter than that.
OTFUSE_HD int x_index(int x, const Window& w, const Extents& grid) {
  const int from = x - int(w.offset.x), k = from >= 0 ? from : from + int(grid.x);
  return k < int(w.extent.x) ? k : -1;
}

// Values of an array; `outside` beyond its window.
template <class real_t>
struct FieldSource {
  using Place = FieldPlace<const real_t>;
  Field<const real_t> field;
  Extents grid;
  real_t outside = 0;
  Quantity gives = Quantity::kLight;

  OTFUSE_HD Place place(int64_t item, int64_t z, int64_t y, bool second) const {
    return field_place(field, grid, item, z, y, second);
  }
  OTFUSE_HD Complex<real_t> enter(const Place& p, int x) const {
    const Window& w = field.window;
    const int i = x_index(x, w, grid);
    const auto value = [&](const real_t* row) {
      return row == nullptr || i < 0 ? outside : row[i * field.stride.x];
    };
    return {value(p.first), value(p.second)};
  }
};

template <class real_t>
struct FieldSink {
  static constexpr Quantity takes = Quantity::kRatio;
  using Place = FieldPlace<real_t>;
  Field<real_t> field;
  Extents grid;

  OTFUSE_HD Place place(int64_t item, int64_t z, int64_t y, bool second) const {
    return field_place(field, grid, item, z, y, second);
  }
  OTFUSE_HD void leave(const Place& p, int x, const Complex<real_t>& v) const {
    const Window& w = field.window;
    const int i = x_index(x, w, grid);
    if (i < 0) return;
    if (p.first != nullptr) p.first[i * field.stride.x] = v.re;
    if (p.second != nullptr) p.second[i * field.stride.x] = v.im;
  }
};

// y / (H p + b), 0 where unseen; the I-divergence is added up on the way where that is
// wanted, from other counts than y where there are such.
template <class real_t>
struct RatioOp {
  static constexpr Quantity takes = Quantity::kLight, gives = Quantity::kRatio;
  static constexpr bool kAddsUp = true;
  struct Place {
    FieldPlace<const real_t> rows, background_map, judged;
    real_t floor;
  };
  FieldSource<real_t> image;  // `outside` is negative
  const real_t* floor;        // (batch)
  real_t background;
  FieldSource<real_t> background_map, judged;  // may be absent; as the image outside
  real_t judged_offset;
  bool judges;

  explicit RatioOp(const RichardsonLucyParams<real_t>& p)
      : image{p.image, p.grid, real_t(-1)},
        floor(p.floor),
        background(p.background),
        background_map{p.background_map, p.grid},
        judged{p.judged, p.grid, real_t(-1)},
        judged_offset(p.judged_offset),
        judges(p.divergence != nullptr) {}

  OTFUSE_HD Place place(int64_t item, int64_t z, int64_t y, bool second) const {
    Place p{image.place(item, z, y, second), {}, {}, floor[item]};
    if (background_map.field) p.background_map = background_map.place(item, z, y, second);
    if (judged.field) p.judged = judged.place(item, z, y, second);
    return p;
  }
  // y log(y / m) - y + m, given the ratio too; nothing where y is negative.
  OTFUSE_HD static double judge(real_t y, real_t m, real_t ratio) {
    if (y < 0) return 0;
    return double((ratio > 0 ? y * std::log(ratio) : real_t(0)) - y + m);
  }
  OTFUSE_HD real_t ratio(real_t seen, real_t reblurred, real_t held, real_t least,
                         double& sum) const {
    const real_t expected = rl_expected(reblurred, background, least);
    const real_t r = seen < 0 ? real_t(0) : seen / expected;
    if (!judges) return r;
    if (judged.field) {
      const real_t m = larger(real_t(expected - judged_offset), least);
      sum += judge(held, m, held / m);
    } else {
      sum += judge(seen, expected, r);
    }
    return r;
  }
  OTFUSE_HD Complex<real_t> fetch(const Place& p, int x) const {
    return image.enter(p.rows, x);
  }
  OTFUSE_HD Complex<real_t> turn(const Place& p, int x, const Complex<real_t>& v,
                                 const Complex<real_t>& y, double& sum) const {
    Complex<real_t> h = v, held = y;
    if (background_map.field) h = h + background_map.enter(p.background_map, x);
    if (judged.field) held = judged.enter(p.judged, x);
    return {ratio(y.re, h.re, held.re, p.floor, sum),
            ratio(y.im, h.im, held.im, p.floor, sum)};
  }
};

// Arrays of the loop, each (batch, nz, ny, nx) on the grid; absent ones are null.
template <class real_t>
struct LoopArrays {
  Extents grid;
  real_t *estimate, *previous;  // with momentum the one before, else none
  const real_t* weight;         // 1 / H^T 1; none: 1
  const real_t* floor;          // (batch)
  bool clipped;  // the back projector has negative lobes: no estimate below the floor

  struct Place {
    int64_t row;  // of the first of the pair
    real_t floor;
    bool second;
  };
  OTFUSE_HD Place place(int64_t item, int64_t z, int64_t y, bool second) const {
    return {((item * grid.z + z) * grid.y + y) * grid.x, floor[item], second};
  }
  // f(index) -> value for both rows of the pair
  template <class F>
  OTFUSE_HD Complex<real_t> both(const Place& p, int x, F f) const {
    const int64_t i = p.row + x;
    return {f(i), p.second ? f(i + grid.x) : real_t(0)};
  }
  OTFUSE_HD real_t weight_at(int64_t i) const {
    return weight == nullptr ? real_t(1) : weight[i];
  }
};

// Takes x to the next estimate, which comes in the place of the one before it, and gives
// the point that the next iteration starts from.
template <class real_t>
struct UpdateOp {
  static constexpr Quantity takes = Quantity::kRatio, gives = Quantity::kLight;
  static constexpr bool kAddsUp = false;
  using Place = typename LoopArrays<real_t>::Place;
  LoopArrays<real_t> arrays;
  real_t step, next_step;  // of the momentum, of this iteration and the next

  OTFUSE_HD Place place(int64_t item, int64_t z, int64_t y, bool second) const {
    return arrays.place(item, z, y, second);
  }
  // p W: the point that the step is taken from, weighted; -1 where nothing is restored.
  OTFUSE_HD real_t weighted(int64_t i, real_t least) const {
    const real_t w = arrays.weight_at(i);
    real_t p = arrays.estimate[i];
    if (arrays.previous != nullptr) p = rl_momentum(p, arrays.previous[i], step, least);
    return w > 0 ? p * w : real_t(-1);
  }
  OTFUSE_HD real_t update(int64_t i, real_t correction, real_t weighted,
                          real_t least) const {
    // rounding may leave a correction just below 0
    const real_t lowest = arrays.clipped ? least : real_t(0);
    const real_t next =
        weighted < 0 ? real_t(0) : larger(real_t(weighted * correction), lowest);
    if (arrays.previous == nullptr) {
      arrays.estimate[i] = next;
      return next;
    }
    arrays.previous[i] = next;
    return weighted < 0 ? next : rl_momentum(next, arrays.estimate[i], next_step, least);
  }
  OTFUSE_HD Complex<real_t> fetch(const Place& p, int x) const {
    return arrays.both(p, x, [&](int64_t i) { return weighted(i, p.floor); });
  }
  OTFUSE_HD Complex<real_t> turn(const Place& p, int x, const Complex<real_t>& v,
                                 const Complex<real_t>& held, double&) const {
    const real_t first = update(p.row + x, v.re, held.re, p.floor);
    return {first, p.second ? update(p.row + arrays.grid.x + x, v.im, held.im, p.floor)
                            : real_t(0)};
  }
};

}  // namespace otfuse::cuda
