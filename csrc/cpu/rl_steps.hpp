// SPDX-License-Identifier: BSD-3-Clause
// What an iteration of Richardson-Lucy does at a voxel, as operations for the passes over
// planes (cpu/planes.hpp).
#pragma once

#include "core/pointwise.hpp"
#include "cpu/layout.hpp"
#include "cpu/vector_log.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// The camera's row block against what the estimate would give: y / (H p + b), 0 where
// unseen.
template <class real_t>
struct RatioOp {
  using V = Lanes<real_t>;
  const real_t* image;
  const real_t* background_map;  // none: 0
  const real_t* judged;          // none: the image
  V background, floor, judged_offset;
  double* divergence;  // none: not wanted
  int64_t ahead;       // the next row block, called into the cache meanwhile
  V sum{};

  void finish() const {
    if (divergence == nullptr) return;
    double total = 0;
    for (int i = 0; i < Simd<real_t>::kLanes; ++i) total += double(sum[i]);
    *divergence = total;
  }

  // y log(y / m) - y + m, given the ratio too; nothing where y is negative.
  OTFUSE_HD void judge(const V& y, const V& m, const V& ratio) {
    const V log_term = ratio > V{} ? y * vector_log<real_t>(ratio) : V{};
    sum += y < V{} ? V{} : log_term - y + m;
  }

  OTFUSE_HD V ratio(const V& seen, const V& reblurred, const real_t* held) {
    const V expected = rl_expected(reblurred, background, floor);
    const V r = seen < V{} ? V{} : seen / expected;
    if (divergence == nullptr) return r;
    if (held == nullptr) {
      judge(seen, expected, r);
    } else {
      const V y = load_aligned(held), m = larger(V(expected - judged_offset), floor);
      judge(y, m, y / m);
    }
    return r;
  }

  OTFUSE_HD Complex<V> operator()(int64_t x, const Complex<V>& v) {
    constexpr int kLanes = Simd<real_t>::kLanes;
    const int64_t at = x * Layout<real_t>::kStep;
    prefetch_complex(image + at + ahead);
    const auto y = load_complex<real_t>(image + at);
    Complex<V> reblurred = v;
    if (background_map != nullptr) {
      const auto more = load_complex<real_t>(background_map + at);
      reblurred = {v.re + more.re, v.im + more.im};
    }
    const real_t* held = judged == nullptr ? nullptr : judged + at;
    const V re = ratio(y.re, reblurred.re, held);
    return {re, ratio(y.im, reblurred.im, held == nullptr ? held : held + kLanes)};
  }
};

// What an update multiplies by, apart from the correction, and the bounds it keeps.
template <class real_t>
struct Factors {
  using V = Lanes<real_t>;
  const real_t* weight;   // of a row block; none: 1
  const real_t* shift;    // likewise, what is added to the correction; none: 0
  const real_t* damping;  // none: 1
  V floor;
  V least;  // of the next estimate where the camera sees: 0, or the floor where the back
            // projector has negative lobes

  OTFUSE_HD Complex<V> weight_at(int64_t at, const Complex<V>& otherwise) const {
    return weight == nullptr ? otherwise : load_complex<real_t>(weight + at);
  }

  OTFUSE_HD Complex<V> shifted_damped(int64_t at, Complex<V> correction) const {
    if (shift != nullptr) correction = correction + load_complex<real_t>(shift + at);
    if (damping == nullptr) return correction;
    const auto d = load_complex<real_t>(damping + at);
    return {correction.re * d.re, correction.im * d.im};
  }

  // Rounding may leave a correction just below 0.
  OTFUSE_HD V next(const V& point, const V& correction, const V& w) const {
    return larger(V(point * correction * w), V(w > V{} ? least : V{}));
  }

  // Voxels that the camera hardly sees stay at 0.
  OTFUSE_HD V momentum(const V& x, const V& before, const V& step, const V& w) const {
    return w > V{} ? rl_momentum(x, before, step, floor) : V{};
  }
};

// Without acceleration, or with "shb": writes the next estimate, gives the point that the
// next iteration starts from.
template <class real_t>
struct UpdateOp {
  using V = Lanes<real_t>;
  Factors<real_t> factors;
  const real_t *estimate, *previous;  // previous: none without momentum
  real_t* next;                       // may be either of them
  V step, next_step;
  bool streams;   // `next`, past the caches: nothing of it is read before the next
                  // iteration
  int64_t ahead;  // as in RatioOp

  void finish() const {}

  OTFUSE_HD V update(const V& x, const V& before, const V& correction, const V& w,
                     V& after) const {
    const V p = previous == nullptr ? x : factors.momentum(x, before, step, w);
    after = factors.next(p, correction, w);
    return previous == nullptr ? after : factors.momentum(after, x, next_step, w);
  }

  OTFUSE_HD Complex<V> operator()(int64_t i, const Complex<V>& v) const {
    const int64_t at = i * Layout<real_t>::kStep;
    const Complex<V> x = load_complex<real_t>(estimate + at);
    Complex<V> before = zero_complex<real_t>(), after;
    prefetch_complex(estimate + at + ahead);
    if (previous != nullptr) {
      before = load_complex<real_t>(previous + at);
      prefetch_complex(previous + at + ahead);
    }
    if (factors.weight != nullptr) prefetch_complex(factors.weight + at + ahead);
    const Complex<V> w = factors.weight_at(at, {V{} + 1, V{} + 1});
    const Complex<V> c = factors.shifted_damped(at, v);
    const Complex<V> point{update(x.re, before.re, c.re, w.re, after.re),
                           update(x.im, before.im, c.im, w.im, after.im)};
    store_complex(next + at, after, streams);
    return point;
  }

  // The point of the first iteration.
  OTFUSE_HD Complex<V> start(int64_t i) const {
    const int64_t at = i * Layout<real_t>::kStep;
    const auto x = load_complex<real_t>(estimate + at);
    if (previous == nullptr) return x;
    const auto before = load_complex<real_t>(previous + at);
    const Complex<V> w = factors.weight_at(at, {V{} + 1, V{} + 1});
    return {factors.momentum(x.re, before.re, next_step, w.re),
            factors.momentum(x.im, before.im, next_step, w.im)};
  }
};

// Biggs & Andrews: the next estimate takes the place of the point that it was reached
// from; how far the next point goes depends on sums over the whole image.
template <class real_t>
struct BiggsOp {
  using V = Lanes<real_t>;
  Factors<real_t> factors;
  Complex<V> rows;  // 1, or 0 in rows beyond the grid
  real_t* point;
  real_t* change;  // estimate - point, of the iteration before and then of this one
  double* sums;    // <change, change before> and <change before, change before>
  int64_t ahead;   // as in RatioOp
  V product{}, square{};

  void finish() const {
    sums[0] = sums[1] = 0;
    for (int i = 0; i < Simd<real_t>::kLanes; ++i) {
      sums[0] += double(product[i]);
      sums[1] += double(square[i]);
    }
  }

  OTFUSE_HD V update(const V& p, V& moved, const V& correction, const V& w) {
    const V after = factors.next(p, correction, w), now = after - p;
    product += now * moved;
    square += moved * moved;
    moved = now;
    return after;
  }

  OTFUSE_HD Complex<V> operator()(int64_t i, const Complex<V>& v) {
    const int64_t at = i * Layout<real_t>::kStep;
    const auto p = load_complex<real_t>(point + at);
    auto moved = load_complex<real_t>(change + at);
    prefetch_complex(point + at + ahead);
    prefetch_complex(change + at + ahead);
    if (factors.weight != nullptr) prefetch_complex(factors.weight + at + ahead);
    const Complex<V> w = factors.weight_at(at, rows), c = factors.shifted_damped(at, v);
    const Complex<V> after{update(p.re, moved.re, c.re, w.re),
                           update(p.im, moved.im, c.im, w.im)};
    store_complex(change + at, moved);
    store_complex(point + at, after);
    return after;
  }
};

// The next point, in the place of the estimate before. An update leaves no estimate at 0
// that the camera sees, so that the weight is read before the first one only.
template <class real_t>
struct BiggsPointOp {
  using V = Lanes<real_t>;
  Factors<real_t> factors;
  Complex<V> rows;
  bool first;
  const real_t* estimate;
  real_t* before;
  V step;
  int64_t ahead;  // as in RatioOp

  void finish() const {}

  OTFUSE_HD Complex<V> operator()(int64_t i, const Complex<V>&) const {
    const int64_t at = i * Layout<real_t>::kStep;
    const auto x = load_complex<real_t>(estimate + at);
    const auto b = load_complex<real_t>(before + at);
    prefetch_complex(estimate + at + ahead);
    prefetch_complex(before + at + ahead);
    const Complex<V> w = first ? factors.weight_at(at, rows) : x;
    const Complex<V> point{factors.momentum(x.re, b.re, step, w.re),
                           factors.momentum(x.im, b.im, step, w.im)};
    store_complex(before + at, point);
    return point;
  }
};

OTFUSE_END_ISA_NAMESPACE
