// SPDX-License-Identifier: BSD-3-Clause
// The whole Richardson-Lucy loop of one image: per iteration four passes over the
// spectrum and nothing else, 52 bytes per voxel in float32.
//   p = x + a (x - x_before)            a = (k - 1) / (k + 2), or 0
//   x = p H^T(y / (H p + b)) W / D      W = 1 / H^T 1 where that exceeds 0.01, or 1
// D is 1 or the total variation's divisor (cpu/total_variation.hpp). With a back
// projector B of its own, which may be negative, what the camera does not see counts as
// explained:
//   x = p (B^T(y / (H p + b)) + 1 - B^T 1) / D
// With "biggs" a needs sums over the whole image between the update and
// the next blur, which costs one more pass. Sources: Richardson 1972; Lucy 1974; edges
// Bertero & Boccacci 2005; momentum Wang & Miller 2014, Biggs & Andrews 1997; back
// projectors Guo et al. 2020.
#pragma once

#include "cpu/rl_consensus.hpp"
#include "cpu/rl_frame.hpp"
#include "cpu/rl_steps.hpp"
#include "cpu/rl_views.hpp"
#include "cpu/total_variation.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class real_t>
class RichardsonLucy : RlFrame<real_t> {
  using Frame = RlFrame<real_t>;
  using Frame::block, Frame::plane, Frame::each_block, Frame::load_field;
  using Frame::floor, Frame::seen, Frame::leave_with;
  using Frame::l, Frame::p, Frame::team, Frame::item, Frame::s, Frame::m;

 public:
  using V = Lanes<real_t>;

  RichardsonLucy(const Layout<real_t>& l, const RichardsonLucyParams<real_t>& p,
                 Team team, int64_t item, real_t* memory, const Scratch<real_t>& s)
      : Frame(l, p, team, item, memory, s),
        biggs(p.acceleration == Acceleration::kBiggs),
        multiplied(p.tv > 0 && p.acceleration == Acceleration::kNone && !p.otf_back),
        streams(p.tv > 0 && p.acceleration == Acceleration::kNone && Frame::large),
        variation(l, p, p.floor[item], s.extra) {}

  void run(std::atomic<bool>& stop) {
    load();
    if (p.weighted) this->make_weight();
    start();
    for (int64_t i = 0; i < p.n_iters; ++i) {
      this->blur(m.spectrum);
      compare(i);
      this->project_back(m.spectrum);
      variation.forget();
      biggs ? update_biggs(i) : update(i);
      if (this->stopped(stop)) return;
    }
    this->store(p.out, m.estimate);
    if (p.out_previous) this->store(p.out_previous, m.previous);
    if (p.out_change) this->store(p.out_change, m.change);
  }

 private:
  // a of iteration k, counted from 1, of "shb".
  V momentum_step(int64_t i) const {
    const double k = double(p.first_iteration + i + 1);
    return broadcast(real_t((k - 1) / (k + 2)));
  }

  void load() {
    load_field(p.image, seen, real_t(-1), m.image);
    if (m.background_map) load_field(p.background_map, seen, real_t(0), m.background_map);
    if (m.judged) load_field(p.judged, seen, real_t(-1), m.judged);
    load_field(p.estimate, l.grid, real_t(0), m.estimate);
    if (m.change) load_field(p.change, l.grid, real_t(0), m.change);
    if (p.acceleration == Acceleration::kNone) return;
    load_field(p.previous ? p.previous : p.estimate, l.grid, real_t(0), m.previous);
  }

  // What row block b of plane z is multiplied by; with total variation it only lasts
  // until the next is asked for.
  Factors<real_t> factors(int64_t z, int64_t b) {
    const real_t* weight = m.weight ? m.weight + block(z, b, l.grid.y) : nullptr;
    const real_t* const shift = p.otf_back ? std::exchange(weight, nullptr) : nullptr;
    const real_t* damping = nullptr;
    if (p.tv > 0) {
      variation.damp(m.estimate, z, b, {false, weight}, s.rows);
      (weight ? weight : damping) = s.rows;
    }
    const V tiny = broadcast(std::numeric_limits<real_t>::min());
    return {weight, shift, damping, floor, p.otf_back ? floor : biggs ? tiny : V{}};
  }

  UpdateOp<real_t> update_op(int64_t z, int64_t b, int64_t i) {
    const int64_t at = block(z, b, l.grid.y);
    if (multiplied && i >= 0) {
      const real_t* const weight = m.weight ? m.weight + at : nullptr;
      variation.damp(m.estimate, z, b, {true, weight}, s.rows);
      return {{nullptr, nullptr, nullptr, floor, V{}},
              s.rows,
              nullptr,
              m.previous + at,
              V{},
              V{},
              streams,
              0};
    }
    real_t* const estimate = m.estimate + at;
    real_t* const previous = m.previous + at;
    const bool momentum = p.acceleration == Acceleration::kShb;
    return {factors(z, b),
            estimate,
            momentum ? previous : nullptr,
            m.previous ? previous : estimate,
            momentum_step(i),
            momentum_step(i + 1),
            streams,
            l.row_block};
  }

  void start() {
    if (biggs) return enter_points(m.previous, V{}, true);
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto first = [&](int64_t b) {
        const auto op = update_op(z, b, -1);
        return [=, this](real_t* line) {
          each_value(l, line, [&](int64_t x, const Complex<V>&) { return op.start(x); });
        };
      };
      this->enter_estimate(z, blocks, first);
    });
  }

  void compare(int64_t i) {
    const V background = broadcast(p.background), offset = broadcast(p.judged_offset);
    each_plane(l, team, seen, [&](int64_t z, RowBlocks blocks) {
      const auto ratio = [&](int64_t b) -> RatioOp<real_t> {
        const int64_t at = block(z, b, seen.y);
        double* partial = m.partial + z * l.row_blocks(seen.y) + b;
        return {m.image + at,
                m.background_map ? m.background_map + at : nullptr,
                m.judged ? m.judged + at : nullptr,
                background,
                floor,
                offset,
                p.divergence == nullptr ? nullptr : partial,
                l.row_block};
      };
      turn_plane(l, plane(z), seen.y, blocks, ratio, s);
    });
    if (p.divergence) this->sum_up(seen, p.divergence + item * p.n_iters + i);
  }

  void update(int64_t i) {
    const bool last = i == p.n_iters - 1;
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto op = [&](int64_t b) { return update_op(z, b, i); };
      if (last) {
        leave_with(z, blocks, op);
      } else {
        this->turn_estimate(z, blocks, op);
      }
      if (streams) end_streaming();
    });
    if (m.previous) std::swap(m.estimate, m.previous);
  }

  // --- "biggs": m.previous is the point p that an iteration starts from

  void update_biggs(int64_t i) {
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto op = [&](int64_t b) -> BiggsOp<real_t> {
        const int64_t at = block(z, b, l.grid.y);
        double* sums = m.partial + 2 * (z * l.row_blocks(l.grid.y) + b);
        return {factors(z, b),
                this->rows_below(b, l.grid.y),
                m.previous + at,
                m.change + at,
                sums,
                l.row_block};
      };
      this->template turn_estimate<Way::kOut>(z, blocks, op);
    });
    std::swap(m.estimate, m.previous);
    const V step = broadcast(biggs_step());
    if (i < p.n_iters - 1) return enter_points(m.estimate, step, false);
    if (!p.out_previous) return;
    each_block(l.grid, [&](int64_t z, int64_t b) {
      const auto op = point_op(m.estimate, step, false, z, b);
      for (int64_t x = 0; x < l.grid.x; ++x) op(x, zero_complex<real_t>());
    });
  }

  // a: how far this change goes the way of the one before; every thread sums alike.
  real_t biggs_step() const {
    double product = 0, square = 0;
    for (int64_t j = 0; j < m.partials(l, l.grid); ++j) {
      product += m.partial[2 * j];
      square += m.partial[2 * j + 1];
    }
    return square > 0 ? real_t(std::clamp(product / square, 0.0, 1.0)) : real_t(0);
  }

  BiggsPointOp<real_t> point_op(const real_t* estimate, const V& step, bool first,
                                int64_t z, int64_t b) const {
    const int64_t at = block(z, b, l.grid.y);
    const real_t* weight = m.weight && !p.otf_back ? m.weight + at : nullptr;
    return {{weight, nullptr, nullptr, floor, V{}},
            this->rows_below(b, l.grid.y),
            first,
            estimate + at,
            m.previous + at,
            step,
            l.row_block};
  }

  void enter_points(const real_t* estimate, const V& step, bool first) {
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto op = [&](int64_t b) { return point_op(estimate, step, first, z, b); };
      this->template turn_estimate<Way::kIn>(z, blocks, op);
    });
  }

  const bool biggs;
  const bool multiplied;  // all factors but the correction, in place of the estimate
  const bool streams;     // the next estimate is an array of its own, larger than a cache
  TotalVariation<real_t> variation;
};

// Reals of each thread's own, beside what every job has.
template <class real_t>
int64_t richardson_lucy_extra(const Layout<real_t>& l,
                              const RichardsonLucyParams<real_t>& p) {
  const int64_t columns = p.nodes.count() > 1 ? NodeColumn<false, real_t>::size(l) : 0;
  return std::max(
      {TotalVariation<real_t>::size(l, p), Views<real_t>::size(l, p), columns});
}

// Bytes of the loop, threads' scratch included.
template <class real_t>
int64_t richardson_lucy_bytes(const RichardsonLucyParams<real_t>& p) {
  const auto l = layout_of<real_t>(p.grid);
  const int64_t image = RlMemory<real_t>::size(*l, p);
  const JobShape job = job_shape(p.batch, image * int64_t(sizeof(real_t)), p.threads);
  const int64_t otfs = p.kernel.kernels * p.nodes.count() * (p.otf_back ? 2 : 1);
  const int64_t kernels = otfs * l->otf_size();
  const int64_t extra = richardson_lucy_extra(*l, p);
  return (job_reals(*l, job, image, extra) + kernels) * int64_t(sizeof(real_t));
}

// False when poll() ended it early; `out` is then not written.
template <class real_t>
bool richardson_lucy(const RichardsonLucyParams<real_t>& p) {
  const auto layout = layout_of<real_t>(p.grid);
  std::atomic<bool> stop{false};
  run_job(
      *layout, p.batch, RlMemory<real_t>::size(*layout, p), p.threads,
      [&](Team team, int64_t b, real_t* memory, const Scratch<real_t>& s) {
        if (stop) return;
        if (p.second) return Consensus<real_t>(*layout, p, team, b, memory, s).run(stop);
        if (p.views > 0) return Views<real_t>(*layout, p, team, b, memory, s).run(stop);
        RichardsonLucy<real_t>(*layout, p, team, b, memory, s).run(stop);
      },
      richardson_lucy_extra(*layout, p));
  return !stop;
}

OTFUSE_END_ISA_NAMESPACE
