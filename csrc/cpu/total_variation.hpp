// SPDX-License-Identifier: BSD-3-Clause
// The total variation's part in an update, a row block at a time:
//   damping = 1 / max(1 - lambda div(grad x / |grad x|), 0.1)
// Differences go forward, the divergence is minus their adjoint; the grid is periodic.
// Rows are lanes, so the next row is the next lane. Each thread keeps the flow along z of
// the plane that it did last, and that along y of the last row of its last row block.
// With d_i the differences of neighbours and e_i a voxel's edges, what flows along i,
//   f_i = c_i d_i / sqrt(sum_j c_j d_j^2 + (lambda flat)^2)     c_i = (lambda / e_i)^2
// has lambda and the edge in it already. Source: Dey et al. 2006.
#pragma once

#include <limits>

#include "core/pointwise.hpp"
#include "cpu/inverse_root.hpp"
#include "cpu/layout.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// The divisor stays above this, or an update would blow up.
inline constexpr double kLeastDivisor = 0.1;
// Gradients well below this many floors (a thousandth of the image's mean) count as flat.
inline constexpr double kFlatFloors = 1e3;

template <class real_t>
class TotalVariation {
 public:
  using V = Lanes<real_t>;
  using C = Complex<V>;

  // Reals of a thread's own: a plane of flows, and four lines.
  static int64_t size(const Layout<real_t>& l, const RichardsonLucyParams<real_t>& p) {
    if (p.tv <= 0) return 0;
    return (l.flat ? 0 : l.real_size(1, l.grid.y)) + 4 * line_size(l);
  }

  TotalVariation(const Layout<real_t>& l, const RichardsonLucyParams<real_t>& p,
                 real_t floor, real_t* memory)
      : l(l), p(p), lines(memory), kept(memory + 4 * line_size(l)) {
    const real_t flat = real_t(kFlatFloors) * floor * p.tv;
    flat_square = broadcast(larger(flat * flat, std::numeric_limits<real_t>::min()));
    const auto square = [&](real_t per) {
      return broadcast((p.tv * per) * (p.tv * per));
    };
    share_x = square(p.per_x);
    share_y = square(p.per_y);
    share_z = square(p.per_z);
  }

  // Before each pass: what was kept is of an earlier estimate.
  void forget() { kept_plane = row_end = kNone; }

  // What the damping is written with: with nothing, or as a product with the estimate and
  // a row block's weight (none: 1), so that an update has one thing to read.
  struct Product {
    bool of_estimate;
    const real_t* weight;
  };

  // Of row block b of plane z, and of each plane its blocks in order.
  OTFUSE_KERNEL void damp(const real_t* estimate, int64_t z, int64_t b, Product product,
                          real_t* out) {
    const Rows here = rows(estimate, z, b);
    if (l.flat || b == 0 || row_end != z * l.row_blocks(l.grid.y) + b) flow_before(here);
    row_end = z * l.row_blocks(l.grid.y) + b + 1;
    if (l.flat) return damp_block<true>(here, nullptr, product, out);
    real_t* const behind = kept + b * l.row_block;
    if (kept_plane != z - 1) {
      keep(rows(estimate, z == 0 ? l.grid.z - 1 : z - 1, b), behind);
    }
    damp_block<false>(here, behind, product, out);
    if (b + 1 == l.row_blocks(l.grid.y)) kept_plane = z;
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
  struct Flow {
    C x, y, z;
  };

  static constexpr int64_t kNone = -2;  // nor is it before any plane

  // A line that vectors may overrun.
  static int64_t line_size(const Layout<real_t>& l) {
    return (l.grid.x / kLanes + 2) * kLanes;
  }

  // `behind`: the flow along z in the plane before, in whose place comes this plane's.
  template <bool kFlat>
  OTFUSE_HD void damp_block(const Rows& here, real_t* behind, const Product& product,
                            real_t* out) const {
    const Ends ends = ends_of(here.count);
    const C first = load_complex(here.here);
    C v = load_complex(here.here + (l.grid.x - 1) * kStep);
    C left = field<kFlat>(here, ends, l.grid.x - 1, v, first).x;
    C next = first;
    for (int64_t x = 0; x < l.grid.x; ++x) {
      if constexpr (!kFlat) prefetch_complex(here.deeper + x * kStep + l.row_block);
      v = next;
      next = x + 1 < l.grid.x ? load_complex(here.here + (x + 1) * kStep) : first;
      const Flow flow = field<kFlat>(here, ends, x, v, next);
      const C down = previous_row(flow.y, lines[x]);
      lines[x] = flow.y.im[kLanes - 1];
      C sum{(flow.x.re - left.re) + (flow.y.re - down.re),
            (flow.x.im - left.im) + (flow.y.im - down.im)};
      if constexpr (!kFlat) {
        const C before = load_complex<real_t>(behind + x * kStep);
        sum.re += flow.z.re - before.re;
        sum.im += flow.z.im - before.im;
        store_complex(behind + x * kStep, flow.z);
      }
      C result{damping(sum.re), damping(sum.im)};
      if (product.of_estimate) {  // nothing else reads it: no one calls the next block in
        prefetch_complex(here.here + x * kStep + l.row_block);
        result = times(result, v);
      }
      if (product.weight != nullptr) {
        prefetch_complex(product.weight + x * kStep + l.row_block);
        result = times(result, load_complex<real_t>(product.weight + x * kStep));
      }
      store_complex(out + x * kStep, result);
      left = flow.x;
    }
  }

  OTFUSE_HD static C times(const C& a, const C& b) { return {a.re * b.re, a.im * b.im}; }

  void keep(const Rows& r, real_t* behind) const {
    const Ends ends = ends_of(r.count);
    for (int64_t x = 0; x < l.grid.x; ++x) {
      const C v = load_complex(r.here + x * kStep),
              side = load_complex(r.here + right(x));
      store_complex(behind + x * kStep, field<false>(r, ends, x, v, side).z);
    }
  }

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

  // The lane of the last row of a block, and whether it has rows in its second half.
  struct Ends {
    Words<real_t> re, im;
    bool both;
  };
  static Ends ends_of(int64_t count) {
    Ends e{{}, {}, count > kLanes};
    (count <= kLanes ? e.re : e.im)[(count - 1) % kLanes] = -1;
    return e;
  }

  OTFUSE_HD static C next_row(const C& v, real_t after, const Ends& ends) {
    const C up = shift_up(v, after, Sequence{});
    const V a = broadcast(after);
    return {ends.re ? a : up.re, ends.im ? a : up.im};
  }
  OTFUSE_HD static C previous_row(const C& v, real_t before) {
    return shift_down(v, before, Sequence{});
  }

  // Differences become flows.
  template <bool kFlat>
  OTFUSE_HD void normalise(V& x, V& y, V& z) const {
    const V fx = share_x * x, fy = share_y * y, fz = share_z * z;
    V square = x * fx + flat_square + y * fy;
    if constexpr (!kFlat) square += z * fz;
    const V r = inverse_root<real_t>(square);
    x = fx * r;
    y = fy * r;
    z = fz * r;
  }

  template <bool kFlat>
  OTFUSE_HD Flow field(const Rows& r, const Ends& ends, int64_t x, const C& v,
                       const C& side) const {
    const C up = next_row(v, r.after[x * kStep], ends);
    Flow f{side - v, up - v, zero_complex<real_t>()};
    if constexpr (!kFlat) f.z = load_complex(r.deeper + x * kStep) - v;
    normalise<kFlat>(f.x.re, f.y.re, f.z.re);
    if (ends.both) normalise<kFlat>(f.x.im, f.y.im, f.z.im);
    return f;
  }

  // Along y, in the row before the block, into the first line. That row's values lie one
  // in a vector: they are brought together first.
  void flow_before(const Rows& r) const {
    const int64_t nx = l.grid.x, size = line_size(l);
    real_t *const flow = lines, *const row = flow + size;
    real_t *const below = row + size, *const deeper = below + size;
    for (int64_t x = 0; x < nx; ++x) {
      row[x] = r.before[x * kStep];
      below[x] = r.here[x * kStep];
      deeper[x] = r.before_deeper[x * kStep];
    }
    row[nx] = row[0];
    for (int64_t x = 0; x < nx; x += kLanes) {
      const V v = load_aligned(row + x);
      V gx = load_unaligned(row + x + 1) - v;
      V gy = load_aligned(below + x) - v;
      V gz = l.flat ? V{} : V(load_aligned(deeper + x) - v);
      normalise<false>(gx, gy, gz);
      store_aligned(flow + x, gy);
    }
  }

  OTFUSE_HD V damping(const V& divergence) const {
    const V one = V{} + 1, least = broadcast(real_t(kLeastDivisor));
    return one / larger(V(one - divergence), least);
  }

  const Layout<real_t>& l;
  const RichardsonLucyParams<real_t>& p;
  real_t *const lines, *const kept;
  int64_t kept_plane = kNone;  // whose flows along z were kept
  int64_t row_end = kNone;     // row blocks up to the one whose last row was kept
  V flat_square, share_x, share_y, share_z;
};

OTFUSE_END_ISA_NAMESPACE
