// SPDX-License-Identifier: BSD-3-Clause
// Richardson-Lucy on two halves of the photons, y_a and y_b, which leaves a voxel alone
// where they disagree:
//   c_i = W H^T(y_i / (H x + b))
//   x   = x (c_a + c_b) / 2     where H^T H((c_a - 1)(c_b - 1)) > 0
// Ten transforms an iteration, each in a pass with what goes before and after it.
#pragma once

#include <array>

#include "cpu/rl_frame.hpp"
#include "cpu/rl_steps.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// What is left of the halves' disagreement with the estimate, where the camera saw.
template <class real_t>
struct SeenOp {
  using V = Lanes<real_t>;
  const real_t* image;
  void finish() const {}
  OTFUSE_HD Complex<V> operator()(int64_t x, const Complex<V>& v) const {
    const auto y = load_complex<real_t>(image + x * Layout<real_t>::kStep);
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
  V sum{};

  void finish() const {
    *agreed = 0;
    for (int i = 0; i < Simd<real_t>::kLanes; ++i) *agreed += double(sum[i]);
  }

  OTFUSE_HD Complex<V> operator()(int64_t x, const Complex<V>& v) {
    const int64_t at = x * Layout<real_t>::kStep;
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
    const auto lines = both_lines();
    each_plane(l, team, seen, [&](int64_t z, RowBlocks blocks) {
      inverse_y(l, plane(z), seen.y, s);
      for (int64_t b = blocks.first; b < blocks.last; ++b) {
        const int64_t at = block(z, b, seen.y), row = b * kStep;
        double* const partial = m.partial + z * l.row_blocks(seen.y) + b;
        auto one = ratio_op(m.image, at, p.divergence ? partial : nullptr);
        auto two = ratio_op(m.second, at, nullptr);
        gather_rows(l, plane(z), row, seen.y, s.line);
        inverse_line(l.x, lines[0], lines[0], s.chirp);
        for (int64_t x = 0; x < l.grid.x; ++x) {
          const auto v = load_complex<real_t>(s.line + x * kStep);
          store_complex(s.line + x * kStep, one(x, v));
          store_complex(s.partner + x * kStep, two(x, v));
        }
        one.finish();
        forward_line(l.x, lines[0], lines[0], s.chirp);
        forward_line(l.x, lines[1], lines[1], s.chirp);
        scatter_rows(l, s.line, plane(z), row, seen.y);
        scatter_rows(l, s.partner, second_plane(z), row, seen.y);
      }
      forward_y(l, plane(z), seen.y, s);
      forward_y(l, second_plane(z), seen.y, s);
    });
    if (p.divergence) this->sum_up(seen, p.divergence + item * p.n_iters + i);
  }

  // Both corrections become their mean, which is kept, and the product of what they ask
  // for.
  void multiply() {
    const auto lines = both_lines();
    const int64_t rows = l.grid.y;
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      inverse_y(l, plane(z), rows, s);
      inverse_y(l, second_plane(z), rows, s);
      for (int64_t b = blocks.first; b < blocks.last; ++b) {
        gather_rows(l, plane(z), b * kStep, rows, s.line);
        gather_rows(l, second_plane(z), b * kStep, rows, s.partner);
        inverse_line(l.x, lines[0], lines[0], s.chirp);
        inverse_line(l.x, lines[1], lines[1], s.chirp);
        multiply_block(block(z, b, rows));
        forward_line(l.x, lines[0], lines[0], s.chirp);
        scatter_rows(l, s.line, plane(z), b * kStep, rows);
      }
      forward_y(l, plane(z), rows, s);
    });
  }

  // Of the corrections in the two lines.
  void multiply_block(int64_t at) const {
    const V one = V{} + 1, half = broadcast(real_t(0.5));
    for (int64_t i = 0; i < l.row_block; i += l.kLanes) {
      const V w = m.weight ? load_aligned(m.weight + at + i) : one;
      const V a = larger(load_aligned(s.line + i), V{}) * w;  // rounding may leave less
      const V b = larger(load_aligned(s.partner + i), V{}) * w;
      store_aligned(m.correction + at + i, half * (a + b));
      store_aligned(s.line + i, (a - one) * (b - one));
    }
  }

  void look() {
    each_plane(l, team, seen, [&](int64_t z, RowBlocks blocks) {
      const auto op = [&](int64_t b) -> SeenOp<real_t> {
        return {m.image + block(z, b, seen.y)};
      };
      turn_plane(l, plane(z), seen.y, blocks, op, s);
    });
  }

  void update(int64_t i) {
    const bool last = i == p.n_iters - 1;
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto op = [&](int64_t b) -> AgreeOp<real_t> {
        const int64_t at = block(z, b, l.grid.y);
        return {m.correction + at, m.estimate + at,
                this->rows_below(b, z < seen.z ? seen.y : 0), seen.x,
                m.partial + z * l.row_blocks(l.grid.y) + b};
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
  std::array<LineView<real_t>, 2> both_lines() const {
    return {contiguous_line(s.line, l.grid.x), contiguous_line(s.partner, l.grid.x)};
  }
};

OTFUSE_END_ISA_NAMESPACE
