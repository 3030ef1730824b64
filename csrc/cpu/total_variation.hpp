// SPDX-License-Identifier: BSD-3-Clause
// The total variation's part in an update, a row block at a time:
//   damping = 1 / max(1 - lambda div(grad x / |grad x|), 0.1)
// Differences go forward, the divergence is minus their adjoint; the grid is periodic.
// Rows are lanes, so the next row is the next lane. Source: Dey et al. 2006.
#pragma once

#include <cmath>

#include "core/pointwise.hpp"
#include "cpu/layout.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// The divisor stays above this, or an update would blow up.
inline constexpr double kLeastDivisor = 0.1;
// Gradients well below this many floors (a thousandth of the image's mean) count as flat.
inline constexpr double kFlatFloors = 1e3;

template <class real_t>
struct RootBits;

template <>
struct RootBits<float> {
  using Word = int32_t;
  static constexpr Word kMagic = 0x5f375a86;
  static constexpr int kSteps = 3;
};

template <>
struct RootBits<double> {
  using Word = int64_t;
  static constexpr Word kMagic = 0x5fe6eb50c7b537a9;
  static constexpr int kSteps = 4;
};

// 1 / sqrt of positive, normal lanes: a guess from the exponent, then Newton's steps.
template <class real_t>
OTFUSE_HD Lanes<real_t> inverse_root(const Lanes<real_t>& x) {
  using Bits = RootBits<real_t>;
  typedef typename Bits::Word Words __attribute__((vector_size(kVectorBytes)));
  const Words guess = Bits::kMagic - (__builtin_bit_cast(Words, x) >> 1);
  Lanes<real_t> r = __builtin_bit_cast(Lanes<real_t>, guess);
  const Lanes<real_t> half = x * real_t(0.5);
  unroll<Bits::kSteps>([&](auto) OTFUSE_LAMBDA { r = r * (real_t(1.5) - half * r * r); });
  return r;
}

template <class real_t>
class TotalVariation {
 public:
  using V = Lanes<real_t>;
  using C = Complex<V>;

  TotalVariation(const Layout<real_t>& l, const RichardsonLucyParams<real_t>& p,
                 real_t floor)
      : l(l), p(p) {
    const real_t flat = real_t(kFlatFloors) * floor;
    flat_square = broadcast(flat * flat);
  }

  // Of row block b of plane z.
  OTFUSE_KERNEL void damp(const real_t* estimate, int64_t z, int64_t b,
                          real_t* out) const {
    const Rows here = rows(estimate, z, b);
    const Rows below = l.flat ? here : rows(estimate, z == 0 ? l.grid.z - 1 : z - 1, b);
    C left = field(here, l.grid.x - 1).x;
    for (int64_t x = 0; x < l.grid.x; ++x) {
      const Flow flow = field(here, x);
      const C down = previous_row(flow.y, flow_before(here, x));
      C sum{(flow.x.re - left.re) * p.per_x + (flow.y.re - down.re) * p.per_y,
            (flow.x.im - left.im) * p.per_x + (flow.y.im - down.im) * p.per_y};
      if (!l.flat) {
        const C behind = field(below, x).z;
        sum.re += (flow.z.re - behind.re) * p.per_z;
        sum.im += (flow.z.im - behind.im) * p.per_z;
      }
      store_complex(out + x * l.kStep, C{damping(sum.re), damping(sum.im)});
      left = flow.x;
    }
  }

 private:
  static constexpr int kLanes = Layout<real_t>::kLanes, kStep = Layout<real_t>::kStep;

  // A row block, where its neighbours lie, and how many of its rows are in the grid.
  struct Rows {
    const real_t *here, *deeper;   // the block, and that of the next plane
    const real_t *after, *before;  // the rows next to it: one value every kStep
    const real_t* before_deeper;
    int64_t count;
  };
  // grad x / |grad x|
  struct Flow {
    C x, y, z;
  };

  Rows rows(const real_t* estimate, int64_t z, int64_t b) const {
    const auto row = [&](int64_t plane, int64_t y) {
      const int64_t blocks = plane * l.row_blocks(l.grid.y) + y / kStep;
      return estimate + blocks * l.row_block + y % kStep;
    };
    const int64_t first = b * kStep, next = std::min(first + kStep, l.grid.y);
    const int64_t deeper = z + 1 == l.grid.z ? 0 : z + 1;
    const int64_t before = first == 0 ? l.grid.y - 1 : first - 1;
    return {row(z, first),  row(deeper, first),  row(z, next == l.grid.y ? 0 : next),
            row(z, before), row(deeper, before), next - first};
  }

  int64_t right(int64_t x) const { return (x + 1 == l.grid.x ? 0 : x + 1) * kStep; }

  template <int... I>
  OTFUSE_HD static C shift_up(const C& v, real_t after,
                              std::integer_sequence<int, I...>) {
    return {__builtin_shufflevector(v.re, v.im, (I + 1)...),
            __builtin_shufflevector(v.im, broadcast(after), (I + 1)...)};
  }
  template <int... I>
  OTFUSE_HD static C shift_down(const C& v, real_t before,
                                std::integer_sequence<int, I...>) {
    return {__builtin_shufflevector(broadcast(before), v.re, (I + kLanes - 1)...),
            __builtin_shufflevector(v.re, v.im, (I + kLanes - 1)...)};
  }
  using Sequence = std::make_integer_sequence<int, kLanes>;

  OTFUSE_HD static C next_row(const C& v, real_t after, int64_t count) {
    C up = shift_up(v, after, Sequence{});
    if (count < kStep) (count <= kLanes ? up.re : up.im)[(count - 1) % kLanes] = after;
    return up;
  }
  OTFUSE_HD static C previous_row(const C& v, real_t before) {
    return shift_down(v, before, Sequence{});
  }

  OTFUSE_HD void normalise(V& gx, V& gy, V& gz) const {
    const V r = inverse_root<real_t>(gx * gx + gy * gy + gz * gz + flat_square);
    gx *= r;
    gy *= r;
    gz *= r;
  }

  OTFUSE_HD Flow field(const Rows& r, int64_t x) const {
    const C v = load_complex(r.here + x * kStep), side = load_complex(r.here + right(x));
    const C up = next_row(v, r.after[x * kStep], r.count);
    Flow f{{(side.re - v.re) * p.per_x, (side.im - v.im) * p.per_x},
           {(up.re - v.re) * p.per_y, (up.im - v.im) * p.per_y},
           zero_complex<real_t>()};
    if (!l.flat) {
      const C deep = load_complex(r.deeper + x * kStep);
      f.z = {(deep.re - v.re) * p.per_z, (deep.im - v.im) * p.per_z};
    }
    normalise(f.x.re, f.y.re, f.z.re);
    normalise(f.x.im, f.y.im, f.z.im);
    return f;
  }

  // Along y, in the row before the block.
  real_t flow_before(const Rows& r, int64_t x) const {
    const real_t v = r.before[x * kStep];
    const real_t gx = (r.before[right(x)] - v) * p.per_x;
    const real_t gy = (r.here[x * kStep] - v) * p.per_y;
    const real_t gz = l.flat ? real_t(0) : (r.before_deeper[x * kStep] - v) * p.per_z;
    return gy / std::sqrt(gx * gx + gy * gy + gz * gz + flat_square[0]);
  }

  OTFUSE_HD V damping(const V& divergence) const {
    const V one = V{} + 1, least = broadcast(real_t(kLeastDivisor));
    return one / larger(V(one - p.tv * divergence), least);
  }

  const Layout<real_t>& l;
  const RichardsonLucyParams<real_t>& p;
  V flat_square;
};

OTFUSE_END_ISA_NAMESPACE
