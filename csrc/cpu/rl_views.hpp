// SPDX-License-Identifier: BSD-3-Clause
// Richardson-Lucy on several views v of one object, c_v = H_v^T(y_v / (H_v p + b_v)):
//   additive        x = p (sum_v c_v) / (sum_v s_v)               s_v = H_v^T 1
//   multiplicative  x = p (prod_v c_v / s_v)^(1 / views)          each at least 1e-6
//   sequential      x = x c_v / s_v for one view after the other
// s_v counts where it exceeds 0.01; a voxel that no view sees is 0. All views blur one
// spectrum of the estimate, and additive corrections meet as spectra: 2 v + 2 transforms
// in planes, 4 v along z.
#pragma once

#include "core/activation.hpp"
#include "cpu/inverse_root.hpp"
#include "cpu/rl_frame.hpp"
#include "cpu/rl_steps.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// What a view's correction multiplies by: 1 where it sees nothing.
template <class real_t>
struct ViewFactor {
  using V = Lanes<real_t>;
  const real_t* weight;  // 1 / s_v of a row block; none: `even`
  V even;

  OTFUSE_HD V of(const V& correction, const V& w) const {
    const V one = V{} + 1;
    return w > V{} ? larger(correction, V{}) * w : one;
  }
  OTFUSE_HD Complex<V> at(int64_t at, const Complex<V>& v) const {
    const Complex<V> w =
        weight == nullptr ? Complex<V>{even, even} : load_complex<real_t>(weight + at);
    return {of(v.re, w.re), of(v.im, w.im)};
  }
};

// The product of two views' factors, whose root is a square root: each is at least 1e-6
// and at most about what counts are over the floor, a millionth of their mean, so that
// their product does not overflow. Of more views the sum of the factors' logarithms.
template <class real_t>
struct Product {
  using V = Lanes<real_t>;
  static constexpr double kLeastFactor = 1e-6;
  bool logs;

  OTFUSE_HD V of(const V& factor) const {
    const V f = larger(factor, V(V{} + real_t(kLeastFactor)));
    return logs ? vector_log<real_t>(f) : f;
  }
  OTFUSE_HD Complex<V> of(const Complex<V>& f) const { return {of(f.re), of(f.im)}; }

  OTFUSE_HD Complex<V> join(const Complex<V>& a, const Complex<V>& b) const {
    return logs ? a + b : Complex<V>{a.re * b.re, a.im * b.im};
  }

  // To the power of `share`: 1 over the number of views that see a voxel, or 0.
  OTFUSE_HD V root(const V& product, const V& share) const {
    const V half = V{} + real_t(0.5);
    if (!logs) return share == half ? product * inverse_root<real_t>(product) : product;
    return power_of_two<real_t, Words<real_t>>(
        V(product * share * real_t(1.44269504088896340736)));
  }
};

template <class real_t>
struct ProductOp {
  using V = Lanes<real_t>;
  ViewFactor<real_t> factor;
  Product<real_t> product;
  real_t* so_far;  // of a row block
  bool first;

  OTFUSE_HD void operator()(int64_t x, const Complex<V>& v) const {
    const int64_t at = x * Layout<real_t>::kStep;
    Complex<V> f = product.of(factor.at(at, v));
    if (!first) f = product.join(f, load_complex<real_t>(so_far + at));
    store_complex(so_far + at, f);
  }
};

// From an estimate, or the point that the view before has led to, to the next one.
template <class real_t>
struct JointOp {
  using V = Lanes<real_t>;
  Joint joint;
  ViewFactor<real_t> factor;  // additive: of all views
  const real_t* share;      // 1 over the number of views that see a voxel; none: `power`
  Product<real_t> product;  // multiplicative
  const real_t* others;     // likewise: of the factors of the other views; or none
  V power;
  const real_t* estimate;
  real_t* point;        // with momentum the estimate before comes in here
  bool enters, leaves;  // is the first view's, the last one's
  bool momentum;
  V floor, step, next_step;
  int64_t ahead;  // as in RatioOp

  void finish() const {}

  OTFUSE_HD V moved(const V& x, const V& before, const V& a, const V& s) const {
    return s > V{} ? rl_momentum(x, before, a, floor) : V{};
  }
  OTFUSE_HD Complex<V> shares(int64_t at) const {
    return share == nullptr ? Complex<V>{power, power} : load_complex<real_t>(share + at);
  }

  OTFUSE_HD V update(const V& x, const V& held, const V& f, const V& s, V& after) const {
    const V entering = momentum ? moved(x, held, step, s) : x;
    after = (enters ? entering : held) * f;
    return leaves && momentum ? moved(after, x, next_step, s) : after;
  }

  OTFUSE_HD Complex<V> operator()(int64_t i, const Complex<V>& v) const {
    const int64_t at = i * Layout<real_t>::kStep;
    prefetch_complex(estimate + at + ahead);
    prefetch_complex(point + at + ahead);
    if (factor.weight != nullptr) prefetch_complex(factor.weight + at + ahead);
    if (share != nullptr) prefetch_complex(share + at + ahead);
    const auto x = load_complex<real_t>(estimate + at),
               held = load_complex<real_t>(point + at);
    const Complex<V> s = shares(at);
    Complex<V> f = factor.at(at, v), after;
    if (joint == Joint::kMultiplicative) {
      f = product.of(f);
      if (others != nullptr) f = product.join(f, load_complex<real_t>(others + at));
      f = {product.root(f.re, s.re), product.root(f.im, s.im)};
    }
    const Complex<V> next{update(x.re, held.re, f.re, s.re, after.re),
                          update(x.im, held.im, f.im, s.im, after.im)};
    store_complex(point + at, after);
    return next;
  }

  // The point of the first iteration.
  OTFUSE_HD Complex<V> start(int64_t i) const {
    const int64_t at = i * Layout<real_t>::kStep;
    const auto x = load_complex<real_t>(estimate + at);
    const Complex<V> s = shares(at);
    if (!momentum) return x;
    return {moved(x.re, x.re, V{}, s.re), moved(x.im, x.im, V{}, s.im)};
  }
};

template <class real_t>
class Views : RlFrame<real_t> {
  using Frame = RlFrame<real_t>;
  using Frame::block, Frame::plane, Frame::spectrum, Frame::of_view, Frame::load_field;
  using Frame::l, Frame::p, Frame::team, Frame::s, Frame::m, Frame::floor, Frame::seen;

 public:
  using V = Lanes<real_t>;
  using Frame::Frame;

  // Each thread's: the product of the factors of a plane.
  static int64_t size(const Layout<real_t>& l, const RichardsonLucyParams<real_t>& p) {
    return p.views > 1 && p.joint == Joint::kMultiplicative ? l.real_size(1, l.grid.y)
                                                            : 0;
  }

  void run(std::atomic<bool>& stop) {
    load();
    if (p.weighted) weigh();
    start();
    for (int64_t i = 0; i < p.n_iters; ++i) {
      p.joint == Joint::kSequential ? in_turn(i) : together(i);
      if (p.acceleration != Acceleration::kNone) std::swap(m.estimate, m.previous);
      if (this->stopped(stop)) return;
    }
    this->store(p.out, m.estimate);
  }

 private:
  bool additive() const { return p.joint == Joint::kAdditive; }
  int64_t whole() const { return l.real_size(l.grid.z, l.grid.y); }
  real_t* weight_of(int64_t view) const {
    return m.weight + (additive() ? 0 : view * whole());
  }

  ViewFactor<real_t> factor(int64_t view, int64_t at) const {
    const double even = additive() ? 1.0 / double(p.views) : 1.0;
    return {m.weight == nullptr ? nullptr : weight_of(view) + at,
            broadcast(real_t(even))};
  }

  void load() {
    for (int64_t v = 0; v < p.views; ++v) {
      load_field(p.image, seen, real_t(-1), of_view(m.image, v), v);
      if (!m.background_map) continue;
      load_field(p.background_map, seen, real_t(0), of_view(m.background_map, v), v);
    }
    load_field(p.estimate, l.grid, real_t(0), m.estimate);
  }

  void weigh() {
    for (int64_t v = 0; v < p.views; ++v) {
      this->project_observed(v);
      each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
        const auto add = [&](int64_t b) {
          return [=, this](const real_t* line) {
            add_light(line, v, block(z, b, l.grid.y));
          };
        };
        leave_plane(l, plane(z), l.grid.y, blocks, add, s);
      });
    }
  }

  // What view v sees of a row block's voxels; after the last view what all of them do.
  void add_light(const real_t* line, int64_t v, int64_t at) const {
    const V least = broadcast(real_t(kLeastWeight)), one = V{} + 1;
    real_t* const weight = weight_of(v) + at;
    const bool last = v == p.views - 1;
    for (int64_t i = 0; i < l.row_block; i += l.kLanes) {
      const V light = load_aligned(line + i);
      V sum = additive() && v > 0 ? light + load_aligned(weight + i) : light;
      V count =
          (v > 0 ? load_aligned(m.share + at + i) : V{}) + (light > least ? one : V{});
      const V alive = additive() ? count : V(light > least ? one : V{});
      if (last || !additive()) sum = alive > V{} ? one / sum : V{};
      if (last) count = count > V{} ? one / count : V{};
      store_aligned(weight + i, sum);
      store_aligned(m.share + at + i, count);
      if (!last) continue;
      real_t* const estimate = m.estimate + at + i;
      store_aligned(estimate, count > V{} ? load_aligned(estimate) : V{});
    }
  }

  V momentum_step(int64_t i) const {
    const double k = double(i + 1);
    return broadcast(real_t((k - 1) / (k + 2)));
  }

  JointOp<real_t> joint_op(int64_t z, int64_t b, int64_t i, int64_t v) const {
    const int64_t at = block(z, b, l.grid.y);
    const bool in_turn = p.joint == Joint::kSequential;
    const bool momentum = p.acceleration != Acceleration::kNone;
    return {p.joint,
            factor(v, at),
            m.share == nullptr ? nullptr : m.share + at,
            product(),
            size(l, p) == 0 ? nullptr : others(b),
            broadcast(real_t(1.0 / double(p.views))),
            m.estimate + at,
            (momentum ? m.previous : m.estimate) + at,
            !in_turn || v == 0,
            !in_turn || v == p.views - 1,
            momentum,
            floor,
            momentum_step(i),
            momentum_step(i + 1),
            l.row_block};
  }

  Product<real_t> product() const { return {p.views > 2}; }
  // A task has a plane, or one row block of a flat image.
  real_t* others(int64_t b) const { return s.extra + (l.flat ? 0 : b * l.row_block); }

  void start() {
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto first = [&](int64_t b) {
        return [&, op = joint_op(z, b, 0, 0)](real_t* line) {
          each_value(l, line, [&](int64_t x, const Complex<V>&) { return op.start(x); });
        };
      };
      enter_plane(l, plane(z), l.grid.y, blocks, first, s);
    });
    if (p.acceleration == Acceleration::kNone) return;
    this->each_block(l.grid, [&](int64_t z, int64_t b) {
      const int64_t at = block(z, b, l.grid.y);
      std::copy_n(m.estimate + at, l.row_block, m.previous + at);
    });
  }

  void compare(int64_t v, real_t* spectrum) const {
    const int64_t image = v * l.real_size(seen.z, seen.y);
    each_plane(l, team, seen, [&](int64_t z, RowBlocks blocks) {
      const auto ratio = [&](int64_t b) -> RatioOp<real_t> {
        const int64_t at = image + block(z, b, seen.y);
        return {m.image + at, m.background_map ? m.background_map + at : nullptr,
                nullptr,      broadcast(p.background),
                floor,        V{},
                nullptr,      l.row_block};
      };
      turn_plane(l, spectrum + z * l.plane, seen.y, blocks, ratio, s);
    });
  }

  void update(int64_t z, RowBlocks blocks, int64_t i, int64_t v, bool last) {
    const auto op = [&](int64_t b) { return joint_op(z, b, i, v); };
    if (last) return this->leave_with(z, blocks, op);
    turn_plane(l, plane(z), l.grid.y, blocks, op, s);
  }

  void in_turn(int64_t i) {
    for (int64_t v = 0; v < p.views; ++v) {
      this->blur({spectrum(0), spectrum(0)}, v);
      compare(v, spectrum(0));
      this->project_back(spectrum(0), v);
      const bool last = i == p.n_iters - 1 && v == p.views - 1;
      each_plane(l, team, l.grid,
                 [&](int64_t z, RowBlocks blocks) { update(z, blocks, i, v, last); });
    }
  }

  void together(int64_t i) {
    for (int64_t v = p.views - 1; v >= 0; --v) {  // the first in the estimate's place
      this->blur({spectrum(0), spectrum(v)}, v);
      compare(v, spectrum(v));
      this->project_back(spectrum(v), v);
    }
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      additive() ? add_spectra(z, blocks) : multiply(z, blocks);
      update(z, blocks, i, 0, i == p.n_iters - 1);
    });
  }

  // Into the first view's: rows of a flat image, which are tasks, else planes.
  void add_spectra(int64_t z, RowBlocks blocks) const {
    const int64_t rows = l.flat ? l.kStep : l.grid.y;
    const int64_t first = l.flat ? blocks.first * l.kStep : 0;
    const int64_t count = std::min(rows, l.grid.y - first) * l.kStep;
    for (int64_t v = 1; v < p.views; ++v) {
      for (int64_t k = 0; k < l.kx_blocks; ++k) {
        const int64_t at = (k * l.grid.y + first) * l.kStep;
        real_t* const sum = plane(z) + at;
        const real_t* const more = plane(z, v) + at;
        for (int64_t i = 0; i < count; i += l.kLanes) {
          store_aligned(sum + i, V(load_aligned(sum + i) + load_aligned(more + i)));
        }
      }
    }
  }

  void multiply(int64_t z, RowBlocks blocks) const {
    for (int64_t v = 1; v < p.views; ++v) {
      const auto take = [&](int64_t b) {
        const ProductOp<real_t> op{factor(v, block(z, b, l.grid.y)), product(), others(b),
                                   v == 1};
        return [this, op](real_t* line) {
          for (int64_t x = 0; x < l.grid.x; ++x)
            op(x, load_complex<real_t>(line + x * l.kStep));
        };
      };
      leave_plane(l, plane(z, v), l.grid.y, blocks, take, s);
    }
  }
};

OTFUSE_END_ISA_NAMESPACE
