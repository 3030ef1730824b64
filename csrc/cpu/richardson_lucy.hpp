// SPDX-License-Identifier: BSD-3-Clause
// The whole Richardson-Lucy loop of one image: per iteration four passes over the
// spectrum and nothing else, 52 bytes per voxel in float32.
//   p = x + a (x - x_before)            a = (k - 1) / (k + 2), or 0
//   x = p H^T(y / (H p + b)) W          W = 1 / H^T 1 where that exceeds 0.01, or 1
// Sources: Richardson 1972; Lucy 1974; edges Bertero & Boccacci 2005; momentum Wang &
// Miller 2014.
#pragma once

#include <atomic>

#include "core/pointwise.hpp"
#include "cpu/fft_convolve.hpp"
#include "cpu/vector_log.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Below this share of its light seen by the camera a voxel is not restored.
inline constexpr double kLeastWeight = 0.01;

template <class real_t>
struct RlMemory {
  real_t *spectrum, *image, *estimate, *previous, *weight;
  double* partial;  // I-divergence of each row block of the image

  static int64_t partials(const Layout<real_t>& l, const Extents& seen) {
    return seen.z * l.row_blocks(seen.y);
  }
  static int64_t size(const Layout<real_t>& l, const RichardsonLucyParams<real_t>& p) {
    const Extents seen = reach(p.image.window, l.grid);
    const int64_t whole = l.real_size(l.grid.z, l.grid.y);
    const int64_t doubles = partials(l, seen) * int64_t(sizeof(double) / sizeof(real_t));
    const int64_t total = l.spectrum_size() + l.real_size(seen.z, seen.y) +
                          whole * (1 + p.momentum + p.weighted) + doubles;
    return ceil_div(total, l.kStep) * l.kStep;
  }

  RlMemory(const Layout<real_t>& l, const RichardsonLucyParams<real_t>& p,
           real_t* memory) {
    const Extents seen = reach(p.image.window, l.grid);
    const int64_t whole = l.real_size(l.grid.z, l.grid.y);
    spectrum = memory;
    image = spectrum + l.spectrum_size();
    estimate = image + l.real_size(seen.z, seen.y);
    real_t* end = estimate + whole;
    previous = p.momentum ? end : nullptr;
    if (p.momentum) end += whole;
    weight = p.weighted ? end : nullptr;
    if (p.weighted) end += whole;
    partial = reinterpret_cast<double*>(end);
  }
};

// The camera's row block against what the estimate would give: y / (H p + b), 0 where
// unseen.
template <class real_t>
struct RatioOp {
  using V = Lanes<real_t>;
  const real_t* image;
  V background, floor;
  double* divergence;  // none: not wanted
  int64_t ahead;       // the next row block, called into the cache meanwhile
  V sum{};

  void finish() const {
    if (divergence == nullptr) return;
    double total = 0;
    for (int i = 0; i < Simd<real_t>::kLanes; ++i) total += double(sum[i]);
    *divergence = total;
  }

  OTFUSE_HD V ratio(const V& seen, const V& reblurred) {
    const V expected = rl_expected(reblurred, background, floor);
    const V r = seen < V{} ? V{} : seen / expected;
    if (divergence != nullptr) {
      const V log_term = r > V{} ? seen * vector_log<real_t>(r) : V{};
      sum += seen < V{} ? V{} : log_term - seen + expected;
    }
    return r;
  }

  OTFUSE_HD Complex<V> operator()(int64_t x, const Complex<V>& v) {
    const real_t* at = image + x * Layout<real_t>::kStep;
    prefetch_complex(at + ahead);
    const auto y = load_complex<real_t>(at);
    return {ratio(y.re, v.re), ratio(y.im, v.im)};
  }
};

template <class real_t>
struct UpdateOp {
  using V = Lanes<real_t>;
  real_t *estimate, *previous;  // previous: none without momentum
  const real_t* weight;         // none: 1
  V step, next_step, floor;
  int64_t ahead;  // as in RatioOp

  void finish() const {}

  OTFUSE_HD V momentum(const V& x, const V& before, const V& a, const V& w) const {
    return w > V{} ? rl_momentum(x, before, a, floor) : V{};
  }

  // Takes x to the next estimate; gives the point that the next iteration starts from.
  OTFUSE_HD V update(V& x, V& before, const V& correction, const V& w) const {
    const V p = previous == nullptr ? x : momentum(x, before, step, w);
    before = x;
    x = p * larger(correction, V{}) * w;  // rounding may leave a correction just below 0
    return previous == nullptr ? x : momentum(x, before, next_step, w);
  }

  OTFUSE_HD Complex<V> operator()(int64_t i, const Complex<V>& v) const {
    const int64_t at = i * Layout<real_t>::kStep;
    Complex<V> x = load_complex<real_t>(estimate + at);
    Complex<V> before = zero_complex<real_t>(), w{V{} + 1, V{} + 1};
    prefetch_complex(estimate + at + ahead);
    if (previous != nullptr) {
      before = load_complex<real_t>(previous + at);
      prefetch_complex(previous + at + ahead);
    }
    if (weight != nullptr) {
      w = load_complex<real_t>(weight + at);
      prefetch_complex(weight + at + ahead);
    }
    const Complex<V> next{update(x.re, before.re, v.re, w.re),
                          update(x.im, before.im, v.im, w.im)};
    store_complex(estimate + at, x);
    if (previous != nullptr) store_complex(previous + at, before);
    return next;
  }
};

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
        floor(broadcast(p.floor[item])),
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
      convolve_spectrum(l, team, m.spectrum, otf, true, {seen_columns, all_columns}, s);
      update(i);
      if (stopped(stop)) return;
    }
    store(p.out, m.estimate);
    if (p.out_previous) store(p.out_previous, m.previous);
  }

 private:
  // Row block b of plane z of an array that holds `rows` rows a plane.
  int64_t block(int64_t z, int64_t b, int64_t rows) const {
    return (z * l.row_blocks(rows) + b) * l.row_block;
  }
  real_t* plane(int64_t z) const { return m.spectrum + z * l.plane; }

  // a of iteration k, counted from 1.
  V momentum_step(int64_t i) const {
    const double k = double(p.first_iteration + i + 1);
    return broadcast(p.momentum ? real_t((k - 1) / (k + 2)) : real_t(0));
  }

  template <class F>
  void each_block(const Extents& extents, F f) const {
    const int64_t blocks = l.row_blocks(extents.y);
    team.each(extents.z * blocks, [&](int64_t i) { f(i / blocks, i % blocks); });
  }

  void load_field(const Field<const real_t>& f, const Extents& extents, real_t fill,
                  real_t* to) const {
    each_block(extents, [&](int64_t z, int64_t b) {
      load_rows(l, f, item, z, b * l.kStep, fill, to + block(z, b, extents.y), s);
    });
  }

  void load() {
    load_field(p.image, seen, real_t(-1), m.image);
    load_field(p.estimate, l.grid, real_t(0), m.estimate);
    if (!p.momentum) return;
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

  UpdateOp<real_t> update_op(int64_t z, int64_t b, int64_t i) const {
    const int64_t at = block(z, b, l.grid.y);
    return {m.estimate + at,
            p.momentum ? m.previous + at : nullptr,
            p.weighted ? m.weight + at : nullptr,
            momentum_step(i),
            momentum_step(i + 1),
            floor,
            l.row_block};
  }

  void start() {
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto first = [&](int64_t b) {
        const auto op = update_op(z, b, -1);
        return [=, this](real_t* line) {
          each_value(l, line,
                     [&](int64_t x, const Complex<V>&) { return first_point(op, x); });
        };
      };
      enter_plane(l, plane(z), l.grid.y, blocks, first, s);
    });
  }

  Complex<V> first_point(const UpdateOp<real_t>& op, int64_t i) const {
    const int64_t at = i * l.kStep;
    const auto x = load_complex<real_t>(op.estimate + at);
    if (!p.momentum) return x;
    const auto before = load_complex<real_t>(op.previous + at);
    Complex<V> w{V{} + 1, V{} + 1};
    if (op.weight != nullptr) w = load_complex<real_t>(op.weight + at);
    return {op.momentum(x.re, before.re, op.next_step, w.re),
            op.momentum(x.im, before.im, op.next_step, w.im)};
  }

  void blur() {
    convolve_spectrum(l, team, m.spectrum, otf, false, {all_columns, seen_columns}, s);
  }

  void compare(int64_t i) {
    const V background = broadcast(p.background);
    each_plane(l, team, seen, [&](int64_t z, RowBlocks blocks) {
      const auto ratio = [&](int64_t b) -> RatioOp<real_t> {
        double* partial = m.partial + z * l.row_blocks(seen.y) + b;
        return {m.image + block(z, b, seen.y), background, floor,
                p.divergence == nullptr ? nullptr : partial, l.row_block};
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
      if (!last) {
        turn_plane(
            l, plane(z), l.grid.y, blocks, [&](int64_t b) { return update_op(z, b, i); },
            s);
        return;
      }
      const auto finish = [&](int64_t b) {
        return [=, this](real_t* line) { each_value(l, line, update_op(z, b, i)); };
      };
      leave_plane(l, plane(z), l.grid.y, blocks, finish, s);
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
  const RlMemory<real_t> m;
  const real_t* const otf;
  const V floor;
  const Extents seen;
  const int64_t seen_columns, all_columns;
};

// Bytes of the loop, threads' scratch included.
template <class real_t>
int64_t richardson_lucy_bytes(const RichardsonLucyParams<real_t>& p) {
  const auto l = layout_of<real_t>(p.grid);
  const int64_t image = RlMemory<real_t>::size(*l, p);
  const JobShape job = job_shape(p.batch, image * int64_t(sizeof(real_t)), p.threads);
  const int64_t kernels = p.kernel.kernels * l->otf_size();
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
