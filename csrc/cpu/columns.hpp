// SPDX-License-Identifier: BSD-3-Clause
// The outermost axis: each column of L neighbouring lines is transformed, multiplied by
// the OTF and transformed back while it stays in the L1 cache; the spectrum is read and
// written once.
#pragma once

#include <omp.h>

#include "cpu/layout.hpp"
#include "cpu/line_fft.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Work shared by the threads of a parallel region, or done alone when each thread has an
// image of its own. Results never depend on which thread does what.
struct Team {
  bool shared;

  // Several neighbours to a thread where there are plenty: the next is then foreseen.
  template <class F>
  void each(int64_t n, F f) const {
    if (shared) {
      const int64_t chunk = std::clamp<int64_t>(n / (8 * omp_get_num_threads()), 1, 4);
#pragma omp for schedule(dynamic, chunk)
      for (int64_t i = 0; i < n; ++i) f(i);
    } else {
      for (int64_t i = 0; i < n; ++i) f(i);
    }
  }
};

// Which planes (rows of a flat image) of the spectrum hold something on the way in, and
// which are wanted on the way out.
struct ColumnLimits {
  int64_t in, out;
};

template <class real_t>
struct ColumnViews {
  LineView<real_t> in, out;
};

// Where a spectrum is read, and where the result goes: there, or to another one.
template <class real_t>
struct SpectrumPair {
  real_t *from, *to;
};

template <class real_t>
ColumnViews<real_t> column_views(const Layout<real_t>& l,
                                 const SpectrumPair<real_t>& spectra, int64_t c,
                                 const ColumnLimits& limits, const Scratch<real_t>& s) {
  const int64_t at = l.column_offset(c);
  return {{spectra.from + at, l.column_stride(), limits.in, s.zeros},
          {spectra.to + at, l.column_stride(), limits.out, s.bin}};
}

template <bool kAdjoint, class real_t>
void multiply_line(int64_t n, real_t* line, const real_t* otf) {
  constexpr int kStep = Layout<real_t>::kStep;
  for (int64_t i = 0; i < n; ++i) {
    const auto v = load_complex<real_t>(line + i * kStep);
    const auto h = load_complex<real_t>(otf + i * kStep);
    store_complex(line + i * kStep, kAdjoint ? multiply_conj(v, h) : multiply(v, h));
  }
}

template <bool kAdjoint, class real_t>
void convolve_column(const Layout<real_t>& l, const ColumnViews<real_t>& column,
                     const LineView<real_t>& next, const real_t* otf,
                     const Scratch<real_t>& s) {
  const LinePlan<real_t>& plan = l.column_plan();
  const auto line = contiguous_line(s.line, plan.n);
  if (!plan.smooth() || plan.stages.empty()) {
    forward_line(plan, column.in, line, s.chirp);
    multiply_line<kAdjoint>(plan.n, s.line, otf);
    return inverse_line(plan, line, column.out, s.chirp);
  }
  const int64_t last = int64_t(plan.stages.size()) - 1;
  const auto middle = [&](const LineView<real_t>& from, const LineView<real_t>& to,
                          const LineView<real_t>& ahead, int64_t groups,
                          const real_t* h) {
    with_radix(plan.stages[last].radix, [&](auto radix) {
      middle_stage<decltype(radix)::value, kAdjoint>(from, to, ahead, groups, h);
    });
  };
  if (last == 0) return middle(column.in, column.out, next, 1, otf);
  const SubLines<real_t> sub(plan);
  run_stage<false>(plan, 0, 1, column.in, line);
  for (int64_t i = 0; i < sub.count; ++i) {
    const auto part = sub.of(line, i);
    forward_rest(plan, last, sub.count, part);
    middle(part, part, sub.of(next, i), plan.stages[last].groups / sub.count,
           otf + i * sub.extent * l.kStep);
    inverse_rest(plan, last, sub.count, part);
  }
  run_stage<true>(plan, 0, 1, line, column.out);
}

// One value of a packed column (lane 0 is DC + i Nyquist) times the OTF: with S and D
// half the sum and difference of the two columns' OTFs, Q[k] = S[k] P[k] + D[k] conj
// P[-k].
template <bool kAdjoint, class real_t>
OTFUSE_HD Complex<Lanes<real_t>> multiply_packed(const Complex<Lanes<real_t>>& v,
                                                 Complex<real_t> mirrored,
                                                 const real_t* sum,
                                                 const real_t* difference) {
  const auto h = load_complex(sum);
  auto product = kAdjoint ? multiply_conj(v, h) : multiply(v, h);
  const Complex<real_t> d{difference[0], difference[1]};
  const Complex<real_t> conj{mirrored.re, -mirrored.im};
  const auto extra = kAdjoint ? multiply_conj(conj, d) : multiply(conj, d);
  product.re[0] += extra.re;
  product.im[0] += extra.im;
  return product;
}

// A packed column c and its mirror image, which need each other's lane 0.
template <bool kAdjoint, class real_t>
void convolve_packed_pair(const Layout<real_t>& l, const SpectrumPair<real_t>& spectra,
                          const real_t* otf, int64_t c, const ColumnLimits& limits,
                          const Scratch<real_t>& s) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  const LinePlan<real_t>& plan = l.column_plan();
  const int64_t m = l.mirror_column(c);
  real_t* lines[2] = {s.line, m == c ? s.line : s.partner};
  const int64_t columns[2] = {c, m};
  const int count = m == c ? 1 : 2;
  for (int i = 0; i < count; ++i) {
    const auto line = contiguous_line(lines[i], plan.n);
    forward_line(plan, column_views(l, spectra, columns[i], limits, s).in, line, s.chirp);
  }
  const auto product = [&](int i, int64_t p, Complex<Lanes<real_t>> v,
                           Complex<real_t> mirrored) {
    const int64_t at = columns[i] * plan.n + p;
    return multiply_packed<kAdjoint>(v, mirrored, otf + at * kStep,
                                     otf + l.packed_offset() + 2 * at);
  };
  for (int64_t p = 0; p < plan.n; ++p) {
    const int64_t q = plan.mirror[p];
    if (count == 1 && q < p) continue;
    real_t* a = lines[0] + p * kStep;
    real_t* b = lines[1] + q * kStep;
    const auto u = load_complex<real_t>(a), v = load_complex<real_t>(b);
    store_complex(a, product(0, p, u, {v.re[0], v.im[0]}));
    if (a != b) store_complex(b, product(count - 1, q, v, {u.re[0], u.im[0]}));
  }
  for (int i = 0; i < count; ++i) {
    const auto line = contiguous_line(lines[i], plan.n);
    inverse_line(plan, line, column_views(l, spectra, columns[i], limits, s).out,
                 s.chirp);
  }
}

// Columns next to each other share pages and memory bursts: a task takes several.
inline constexpr int64_t kColumnsPerTask = 32;

// packed(c) for the first of each pair of packed columns, plain(c, the one after it) for
// all others.
template <class real_t, class Packed, class Plain>
void each_column(const Layout<real_t>& l, const Team& team, Packed packed, Plain plain) {
  const int64_t pairs = l.packed ? l.columns_per_block() : 0;
  const int64_t tasks = ceil_div(l.columns() - pairs, kColumnsPerTask);
  team.each(pairs + tasks, [&](int64_t task) {
    if (task < pairs) {
      if (l.mirror_column(task) >= task) packed(task);
      return;
    }
    const int64_t first = pairs + (task - pairs) * kColumnsPerTask;
    const int64_t last = std::min(first + kColumnsPerTask, l.columns());
    for (int64_t c = first; c < last; ++c) plain(c, std::min(c + 1, last - 1));
  });
}

template <bool kAdjoint, class real_t>
void convolve_columns(const Layout<real_t>& l, const Team& team,
                      const SpectrumPair<real_t>& spectra, const real_t* otf,
                      const ColumnLimits& limits, const Scratch<real_t>& s) {
  const auto packed = [&](int64_t c) {
    convolve_packed_pair<kAdjoint>(l, spectra, otf, c, limits, s);
  };
  each_column(l, team, packed, [&](int64_t c, int64_t after) {
    const auto next = column_views(l, spectra, after, limits, s).in;
    convolve_column<kAdjoint>(l, column_views(l, spectra, c, limits, s), next,
                              l.otf_column(otf, c), s);
  });
}

template <class real_t>
void convolve_spectrum(const Layout<real_t>& l, const Team& team,
                       const SpectrumPair<real_t>& spectra, const real_t* otf,
                       bool adjoint, const ColumnLimits& limits,
                       const Scratch<real_t>& s) {
  if (adjoint) {
    convolve_columns<true>(l, team, spectra, otf, limits, s);
  } else {
    convolve_columns<false>(l, team, spectra, otf, limits, s);
  }
}

OTFUSE_END_ISA_NAMESPACE
