// SPDX-License-Identifier: BSD-3-Clause
// Richardson-Lucy on two halves of the photons, y_a and y_b, which leaves a voxel alone
// where they disagree:
//   c_i = W H^T(y_i / (H x + b))
//   x   = x (c_a + c_b) / 2     where H^T H((c_a - 1)(c_b - 1)) > 0
// Ten transforms an iteration, each in a pass with what goes before and after it.
#pragma once

#include "cpu/rl_frame.hpp"
#include "cpu/rl_steps.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// The reblurred estimate becomes one half's ratio, and the other's in a second line.
template <class real_t>
struct DivideOp {
  using V = Lanes<real_t>;
  RatioOp<real_t> one, two;
  real_t* second;
  void finish() const { one.finish(); }
  OTFUSE_HD Complex<V> operator()(int64_t x, const Complex<V>& v) {
    store_complex(second + x * Layout<real_t>::kStep, two(x, v));
    return one(x, v);
  }
};

// One half's correction, and the other's from a second line, become their mean, which is
// kept, and the product of what they ask for.
template <class real_t>
struct MultiplyOp {
  using V = Lanes<real_t>;
  const real_t *second, *weight;  // weight: of a row block; none: 1
  real_t* mean;
  bool streams;   // `mean`, past the caches
  int64_t ahead;  // as in RatioOp
  void finish() const {}

  OTFUSE_HD static V multiply(const V& c, const V& d, const V& w, V& mean) {
    const V one = V{} + 1;
    const V a = larger(c, V{}) * w, b = larger(d, V{}) * w;  // rounding may leave less
    mean = (a + b) * real_t(0.5);
    return (a - one) * (b - one);
  }

  OTFUSE_HD Complex<V> operator()(int64_t x, const Complex<V>& v) const {
    const int64_t at = x * Layout<real_t>::kStep;
    const auto u = load_complex<real_t>(second + at);
    Complex<V> w{V{} + 1, V{} + 1}, kept;
    if (weight != nullptr) {
      w = load_complex<real_t>(weight + at);
      prefetch_complex(weight + at + ahead);
    }
    const Complex<V> product{multiply(v.re, u.re, w.re, kept.re),
                             multiply(v.im, u.im, w.im, kept.im)};
    store_complex(mean + at, kept, streams);
    return product;
  }
};

// What is left of the halves' disagreement with the estimate, where the camera saw.
template <class real_t>
struct SeenOp {
  using V = Lanes<real_t>;
  const real_t* image;
  int64_t ahead;  // as in RatioOp
  void finish() const {}
  OTFUSE_HD Complex<V> operator()(int64_t x, const Complex<V>& v) const {
    const int64_t at = x * Layout<real_t>::kStep;
    prefetch_complex(image + at + ahead);
    const auto y = load_complex<real_t>(image + at);
    return {y.re < V{} ? V{} : v.re, y.im < V{} ? V{} : v.im};
  }
};

// Takes a step where the halves agree, and counts such voxels of the image.
template <class real_t>
struct AgreeOp {
  using V = Lanes<real_t>;
  const real_t* correction;
  real_t* estimate;
  Complex<V> rows;  // 1, or 0 in rows beyond the image
  int64_t columns;  // of the image
  double* agreed;
  int64_t ahead;  // as in RatioOp
  V sum{};

  void finish() const {
    *agreed = 0;
    for (int i = 0; i < Simd<real_t>::kLanes; ++i) *agreed += double(sum[i]);
  }

  OTFUSE_HD Complex<V> operator()(int64_t x, const Complex<V>& v) {
    const int64_t at = x * Layout<real_t>::kStep;
    prefetch_complex(estimate + at + ahead);
    prefetch_complex(correction + at + ahead);
    const auto now = load_complex<real_t>(estimate + at);
    const auto c = load_complex<real_t>(correction + at);
    const Complex<V> after{v.re > V{} ? now.re * c.re : now.re,
                           v.im > V{} ? now.im * c.im : now.im};
    store_complex(estimate + at, after);
    if (x < columns) {
      sum += (v.re > V{} ? rows.re : V{}) + (v.im > V{} ? rows.im : V{});
    }
    return after;
  }
};

template <class real_t>
class Consensus : RlFrame<real_t> {
  using Frame = RlFrame<real_t>;
  using Frame::block, Frame::plane, Frame::load_field, Frame::l, Frame::p, Frame::team;
  using Frame::s, Frame::m, Frame::item, Frame::floor, Frame::seen;

 public:
  using V = Lanes<real_t>;
  using Frame::Frame;

  void run(std::atomic<bool>& stop) {
    load();
    if (p.weighted) this->make_weight();
    enter();
    for (int64_t i = 0; i < p.n_iters; ++i) {
      this->blur(m.spectrum);
      divide(i);
      this->project_back(m.spectrum);
      this->project_back(m.second_spectrum);
      multiply();
      this->blur(m.spectrum);
      look();
      this->project_back(m.spectrum);
      update(i);
      if (this->stopped(stop)) return;
      if (p.agreed[item * p.n_iters + i] < p.fewest) break;
    }
    this->store(p.out, m.estimate);
  }

 private:
  static constexpr int kStep = Layout<real_t>::kStep;

  void load() {
    load_field(p.image, seen, real_t(-1), m.image);
    load_field(p.second, seen, real_t(-1), m.second);
    if (m.judged) load_field(p.judged, seen, real_t(-1), m.judged);
    if (m.background_map) load_field(p.background_map, seen, real_t(0), m.background_map);
    load_field(p.estimate, l.grid, real_t(0), m.estimate);
  }

  void enter() {
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto first = [&](int64_t b) {
        const real_t* const from = m.estimate + block(z, b, l.grid.y);
        return [=, this](real_t* line) { std::copy(from, from + l.row_block, line); };
      };
      enter_plane(l, plane(z), l.grid.y, blocks, first, s);
    });
  }

  RatioOp<real_t> ratio_op(const real_t* image, int64_t at, double* divergence) const {
    return {image + at,
            m.background_map ? m.background_map + at : nullptr,
            m.judged ? m.judged + at : nullptr,
            broadcast(p.background),
            floor,
            V{},
            divergence,
            l.row_block};
  }

  // The reblurred estimate becomes the ratios of both halves.
  void divide(int64_t i) {
    const auto second = contiguous_line(s.partner, l.grid.x);
    each_plane(l, team, seen, [&](int64_t z, RowBlocks blocks) {
      inverse_y(l, plane(z), seen.y, s);
      for (int64_t b = blocks.first; b < blocks.last; ++b) {
        const int64_t at = block(z, b, seen.y), row = b * kStep;
        double* const partial = m.partial + z * l.row_blocks(seen.y) + b;
        DivideOp<real_t> op{ratio_op(m.image, at, p.divergence ? partial : nullptr),
                            ratio_op(m.second, at, nullptr), s.partner};
        gather_rows(l, plane(z), row, seen.y, s.line);
        turn_rows<Way::kBoth>(l, s.line, op, s);
        op.finish();
        forward_line(l.x, second, second, s.chirp);
        scatter_rows(l, s.line, plane(z), row, seen.y);
        scatter_rows(l, s.partner, second_plane(z), row, seen.y);
      }
      forward_y(l, plane(z), seen.y, s);
      forward_y(l, second_plane(z), seen.y, s);
    });
    if (p.divergence) this->sum_up(seen, p.divergence + item * p.n_iters + i);
  }

  // Both corrections become their mean and the product of what they ask for.
  void multiply() {
    const auto second = contiguous_line(s.partner, l.grid.x);
    const int64_t rows = l.grid.y;
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      inverse_y(l, second_plane(z), rows, s);
      const auto op = [&](int64_t b) -> MultiplyOp<real_t> {
        gather_rows(l, second_plane(z), b * kStep, rows, s.partner);
        inverse_line(l.x, second, second, s.chirp);
        const int64_t at = block(z, b, rows);
        const real_t* weight = m.weight ? m.weight + at : nullptr;
        return {s.partner, weight, m.correction + at, this->large, l.row_block};
      };
      turn_plane(l, plane(z), rows, blocks, op, s);
      end_streaming();
    });
  }

  void look() {
    each_plane(l, team, seen, [&](int64_t z, RowBlocks blocks) {
      const auto op = [&](int64_t b) -> SeenOp<real_t> {
        return {m.image + block(z, b, seen.y), l.row_block};
      };
      turn_plane(l, plane(z), seen.y, blocks, op, s);
    });
  }

  void update(int64_t i) {
    const bool last = i == p.n_iters - 1;
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto op = [&](int64_t b) -> AgreeOp<real_t> {
        const int64_t at = block(z, b, l.grid.y);
        return {m.correction + at,
                m.estimate + at,
                this->rows_below(b, z < seen.z ? seen.y : 0),
                seen.x,
                m.partial + z * l.row_blocks(l.grid.y) + b,
                l.row_block};
      };
      if (last) {
        this->leave_with(z, blocks, op);
      } else {
        turn_plane(l, plane(z), l.grid.y, blocks, op, s);
      }
    });
    this->sum_up(l.grid, p.agreed + item * p.n_iters + i);
  }

  real_t* second_plane(int64_t z) const { return m.second_spectrum + z * l.plane; }
};

OTFUSE_END_ISA_NAMESPACE
