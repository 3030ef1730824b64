// SPDX-License-Identifier: BSD-3-Clause
// The whole Richardson-Lucy loop of one image: per iteration four passes over the
// spectrum and nothing else, 52 bytes per voxel in float32.
//   p = x + a (x - x_before)            a = (k - 1) / (k + 2), or 0
//   x = p H^T(y / (H p + b)) W / D      W = 1 / H^T 1 where that exceeds 0.01, or 1
// D is 1 or the total variation's divisor (cpu/total_variation.hpp); H^T may be another
// back projector. With "biggs" a needs sums over the whole image between the update and
// the next blur, which costs one more pass. Sources: Richardson 1972; Lucy 1974; edges
// Bertero & Boccacci 2005; momentum Wang & Miller 2014, Biggs & Andrews 1997; back
// projectors Guo et al. 2020.
#pragma once

#include <atomic>

#include "cpu/fft_convolve.hpp"
#include "cpu/rl_memory.hpp"
#include "cpu/rl_steps.hpp"
#include "cpu/total_variation.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Below this share of its light seen by the camera a voxel is not restored.
inline constexpr double kLeastWeight = 0.01;

template <class real_t>
class RichardsonLucy {
 public:
  using V = Lanes<real_t>;

  RichardsonLucy(const Layout<real_t>& l, const RichardsonLucyParams<real_t>& p,
                 Team team, int64_t item, real_t* memory, const Scratch<real_t>& s)
      : l(l),
        p(p),
        team(team),
        item(item),
        s(s),
        m(l, p, memory),
        otf(p.otf + p.kernel.of(item) * l.otf_size()),
        otf_back(p.otf_back ? p.otf_back + p.kernel.of(item) * l.otf_size() : otf),
        biggs(p.acceleration == Acceleration::kBiggs),
        floor(broadcast(p.floor[item])),
        variation(l, p, p.floor[item]),
        seen(reach(p.image.window, l.grid)),
        seen_columns(column_limit(l, seen)),
        all_columns(column_limit(l, l.grid)) {}

  void run(std::atomic<bool>& stop) {
    load();
    if (p.weighted) make_weight();
    start();
    for (int64_t i = 0; i < p.n_iters; ++i) {
      blur();
      compare(i);
      convolve_spectrum(l, team, m.spectrum, otf_back, true, {seen_columns, all_columns},
                        s);
      biggs ? update_biggs(i) : update(i);
      if (stopped(stop)) return;
    }
    store(p.out, m.estimate);
    if (p.out_previous) store(p.out_previous, m.previous);
    if (p.out_change) store(p.out_change, m.change);
  }

 private:
  // Row block b of plane z of an array that holds `rows` rows a plane.
  int64_t block(int64_t z, int64_t b, int64_t rows) const {
    return (z * l.row_blocks(rows) + b) * l.row_block;
  }
  real_t* plane(int64_t z) const { return m.spectrum + z * l.plane; }

  // a of iteration k, counted from 1, of "shb".
  V momentum_step(int64_t i) const {
    const double k = double(p.first_iteration + i + 1);
    return broadcast(real_t((k - 1) / (k + 2)));
  }

  template <class F>
  void each_block(const Extents& extents, F f) const {
    const int64_t blocks = l.row_blocks(extents.y);
    team.each(extents.z * blocks, [&](int64_t i) { f(i / blocks, i % blocks); });
  }

  void load_field(const Field<const real_t>& f, const Extents& extents, real_t fill,
                  real_t* to) const {
    each_block(extents, [&](int64_t z, int64_t b) {
      real_t* const line = to + block(z, b, extents.y);
      if (f) return load_rows(l, f, item, z, b * l.kStep, fill, line, s);
      std::fill(line, line + l.row_block, fill);
    });
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

  void make_weight() {
    each_plane(l, team, seen, [&](int64_t z, RowBlocks blocks) {
      const auto observed = [&](int64_t b) {
        const real_t* image = m.image + block(z, b, seen.y);
        return [=, this](real_t* line) {
          each_value(l, line, [&](int64_t x, const Complex<V>&) -> Complex<V> {
            const auto y = load_complex<real_t>(image + x * l.kStep);
            const V one = V{} + 1;
            return {y.re < V{} ? V{} : one, y.im < V{} ? V{} : one};
          });
        };
      };
      enter_plane(l, plane(z), seen.y, blocks, observed, s);
    });
    convolve_spectrum(l, team, m.spectrum, otf, true, {seen_columns, all_columns}, s);
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto invert = [&](int64_t b) {
        real_t* weight = m.weight + block(z, b, l.grid.y);
        real_t* estimate = m.estimate + block(z, b, l.grid.y);
        return [=, this](real_t* line) { set_weight(line, weight, estimate); };
      };
      leave_plane(l, plane(z), l.grid.y, blocks, invert, s);
    });
  }

  // W of a row block from H^T 1; voxels that the camera hardly sees start, and stay, at
  // 0.
  void set_weight(const real_t* line, real_t* weight, real_t* estimate) const {
    const V least = broadcast(real_t(kLeastWeight)), one = V{} + 1;
    for (int64_t i = 0; i < l.row_block; i += l.kLanes) {
      const V sum = load_aligned(line + i);
      store_aligned(weight + i, sum > least ? one / sum : V{});
      store_aligned(estimate + i, sum > least ? load_aligned(estimate + i) : V{});
    }
  }

  // What row block b of plane z is multiplied by; its damping only lasts until the next
  // is asked for.
  Factors<real_t> factors(int64_t z, int64_t b) const {
    if (p.tv > 0) variation.damp(m.estimate, z, b, s.rows);
    return {m.weight ? m.weight + block(z, b, l.grid.y) : nullptr,
            p.tv > 0 ? s.rows : nullptr, floor, p.otf_back ? floor : V{}};
  }

  UpdateOp<real_t> update_op(int64_t z, int64_t b, int64_t i) const {
    const int64_t at = block(z, b, l.grid.y);
    real_t* const estimate = m.estimate + at;
    real_t* const previous = m.previous + at;
    const bool momentum = p.acceleration == Acceleration::kShb;
    return {factors(z, b),
            estimate,
            momentum ? previous : nullptr,
            m.previous ? previous : estimate,
            momentum_step(i),
            momentum_step(i + 1),
            l.row_block};
  }

  void start() {
    if (biggs) return enter_points(m.previous, V{});
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto first = [&](int64_t b) {
        const auto op = update_op(z, b, -1);
        return [=, this](real_t* line) {
          each_value(l, line, [&](int64_t x, const Complex<V>&) { return op.start(x); });
        };
      };
      enter_plane(l, plane(z), l.grid.y, blocks, first, s);
    });
  }

  void blur() {
    convolve_spectrum(l, team, m.spectrum, otf, false, {all_columns, seen_columns}, s);
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
    if (p.divergence == nullptr) return;
    team.each(1, [&](int64_t) {  // in one order whatever the threads did
      double sum = 0;
      for (int64_t j = 0; j < m.partials(l, seen); ++j) sum += m.partial[j];
      p.divergence[item * p.n_iters + i] = sum;
    });
  }

  void update(int64_t i) {
    const bool last = i == p.n_iters - 1;
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto op = [&](int64_t b) { return update_op(z, b, i); };
      if (last) {
        leave_with(z, blocks, op);
      } else {
        turn_plane(l, plane(z), l.grid.y, blocks, op, s);
      }
    });
    if (m.previous) std::swap(m.estimate, m.previous);
  }

  // Every row block of a plane of the estimate through op_of(block), frequencies to
  // values.
  template <class OpOf>
  void leave_with(int64_t z, RowBlocks blocks, const OpOf& op_of) {
    const auto consume = [&](int64_t b) {
      return [&l = l, made = op_of(b)](real_t* line) {
        auto op = made;
        each_value(l, line, [&](int64_t x, const Complex<V>& v) { return op(x, v); });
        op.finish();
      };
    };
    leave_plane(l, plane(z), l.grid.y, blocks, consume, s);
  }

  // --- "biggs": m.previous is the point p that an iteration starts from

  // 1 in the rows of the grid, 0 in those that only fill up the last row block.
  Complex<V> rows_of_grid(int64_t b) const {
    Complex<V> rows = zero_complex<real_t>();
    for (int i = 0; i < l.kLanes; ++i) {
      rows.re[i] = real_t(b * l.kStep + i < l.grid.y);
      rows.im[i] = real_t(b * l.kStep + l.kLanes + i < l.grid.y);
    }
    return rows;
  }

  void update_biggs(int64_t i) {
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      leave_with(z, blocks, [&](int64_t b) -> BiggsOp<real_t> {
        const int64_t at = block(z, b, l.grid.y);
        double* sums = m.partial + 2 * (z * l.row_blocks(l.grid.y) + b);
        return {factors(z, b), rows_of_grid(b), m.previous + at, m.change + at,
                sums,          l.row_block};
      });
    });
    std::swap(m.estimate, m.previous);
    const V step = broadcast(biggs_step());
    if (i < p.n_iters - 1) return enter_points(m.estimate, step);
    if (!p.out_previous) return;
    each_block(l.grid, [&](int64_t z, int64_t b) {
      const auto op = point_op(m.estimate, step, z, b);
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

  BiggsPointOp<real_t> point_op(const real_t* estimate, const V& step, int64_t z,
                                int64_t b) const {
    const int64_t at = block(z, b, l.grid.y);
    const real_t* weight = m.weight ? m.weight + at : nullptr;
    return {{weight, nullptr, floor, V{}},
            rows_of_grid(b),
            estimate + at,
            m.previous + at,
            step,
            l.row_block};
  }

  void enter_points(const real_t* estimate, const V& step) {
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto enter = [&](int64_t b) {
        return [this, op = point_op(estimate, step, z, b)](real_t* line) {
          each_value(l, line, op);
        };
      };
      enter_plane(l, plane(z), l.grid.y, blocks, enter, s);
    });
  }

  // Thread 0 alone may ask the caller (Python's signals belong to its thread).
  bool stopped(std::atomic<bool>& stop) const {
    if (p.poll != nullptr && omp_get_thread_num() == 0 && p.poll()) stop = true;
    if (team.shared) {
#pragma omp barrier
    }
    return stop;
  }

  void store(const Field<real_t>& f, const real_t* from) const {
    each_block(reach(f.window, l.grid), [&](int64_t z, int64_t b) {
      store_rows(l, from + block(z, b, l.grid.y), f, item, z, b * l.kStep, s);
    });
  }

  const Layout<real_t>& l;
  const RichardsonLucyParams<real_t>& p;
  const Team team;
  const int64_t item;
  const Scratch<real_t>& s;
  RlMemory<real_t> m;  // of each thread its own: they swap alike
  const real_t *const otf, *const otf_back;
  const bool biggs;
  const V floor;
  const TotalVariation<real_t> variation;
  const Extents seen;
  const int64_t seen_columns, all_columns;
};

// Bytes of the loop, threads' scratch included.
template <class real_t>
int64_t richardson_lucy_bytes(const RichardsonLucyParams<real_t>& p) {
  const auto l = layout_of<real_t>(p.grid);
  const int64_t image = RlMemory<real_t>::size(*l, p);
  const JobShape job = job_shape(p.batch, image * int64_t(sizeof(real_t)), p.threads);
  const int64_t kernels = p.kernel.kernels * (p.otf_back ? 2 : 1) * l->otf_size();
  return (job_reals(*l, job, image) + kernels) * int64_t(sizeof(real_t));
}

// False when poll() ended it early; `out` is then not written.
template <class real_t>
bool richardson_lucy(const RichardsonLucyParams<real_t>& p) {
  const auto layout = layout_of<real_t>(p.grid);
  std::atomic<bool> stop{false};
  run_job(*layout, p.batch, RlMemory<real_t>::size(*layout, p), p.threads,
          [&](Team team, int64_t b, real_t* memory, const Scratch<real_t>& s) {
            if (stop) return;
            RichardsonLucy<real_t>(*layout, p, team, b, memory, s).run(stop);
          });
  return !stop;
}

OTFUSE_END_ISA_NAMESPACE
