// SPDX-License-Identifier: BSD-3-Clause
// A PSF that changes along the columns: each of its nodes d has a share w_d of the light
// of every place and blurs it with an OTF of its own,
//   out = F^-1 sum_d H_d F (w_d in)        adjoint: out = sum_d w_d F^-1 conj(H_d) F in
// so that nodes share all transforms in planes, and one of the two along the columns.
#pragma once

#include "cpu/columns.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class real_t>
struct ColumnNodes {
  int64_t count;
  const real_t* otf;     // of the first node
  int64_t step;          // from one node's OTF to the next one's
  const real_t* shares;  // (count, places of a column)
};

// One column, or a packed one and its mirror image, which need each other.
template <bool kAdjoint, class real_t>
class NodeColumn {
 public:
  // Reals of a thread's own: two lines.
  static int64_t size(const Layout<real_t>& l) {
    return 2 * Scratch<real_t>::line_size(l);
  }

  NodeColumn(const Layout<real_t>& l, const ColumnNodes<real_t>& nodes,
             const SpectrumPair<real_t>& spectra, const ColumnLimits& limits,
             const Scratch<real_t>& s)
      : l(l),
        nodes(nodes),
        spectra(spectra),
        limits(limits),
        s(s),
        plan(l.column_plan()),
        lines{s.line, s.partner},
        sums{s.extra, s.extra + Scratch<real_t>::line_size(l)} {}

  void packed(int64_t c) { run({c, l.mirror_column(c)}, true, c); }
  void plain(int64_t c, int64_t after) { run({c, c}, false, after); }

 private:
  static constexpr int kStep = Layout<real_t>::kStep;
  using Lines = real_t* const[2];
  struct Pair {
    int64_t first, second;
  };

  // `after` is called into the cache meanwhile.
  void run(const Pair& pair, bool packed, int64_t after) {
    columns[0] = pair.first;
    columns[1] = pair.second;
    count = pair.first == pair.second ? 1 : 2;
    const auto next = views(after).in;
    if constexpr (kAdjoint) {
      each_line([&](int i) { load(i, nullptr, next, sums[i]); });
      each_line(
          [&](int i) { forward_line(plan, line(sums[i]), line(sums[i]), s.chirp); });
    }
    for (int64_t d = 0; d < nodes.count; ++d) {
      const real_t* const share = nodes.shares + d * plan.n;
      if constexpr (kAdjoint) {
        multiply_lines(packed, d, sums, lines, false);
        each_line([&](int i) {
          inverse_line(plan, line(lines[i]), line(lines[i]), s.chirp);
          add(i, share, d > 0);
        });
      } else {
        each_line([&](int i) {
          load(i, share, d == 0 ? next : LineView<real_t>{}, lines[i]);
          forward_line(plan, line(lines[i]), line(lines[i]), s.chirp);
        });
        multiply_lines(packed, d, lines, sums, d > 0);
      }
    }
    if constexpr (kAdjoint) return;
    each_line([&](int i) {
      inverse_line(plan, line(sums[i]), views(columns[i]).out, s.chirp);
    });
  }

  template <class F>
  void each_line(F f) const {
    for (int i = 0; i < count; ++i) f(i);
  }
  LineView<real_t> line(real_t* base) const { return contiguous_line(base, plan.n); }
  ColumnViews<real_t> views(int64_t c) const {
    return column_views(l, spectra, c, limits, s);
  }

  // Column i times a node's share, or all of it.
  void load(int i, const real_t* share, const LineView<real_t>& next, real_t* to) const {
    const LineView<real_t> from = views(columns[i]).in;
    for (int64_t p = 0; p < plan.n; ++p) {
      const auto v = load_complex<real_t>(from.at(p));
      if (next.base != nullptr) prefetch_complex(next.at(p));
      const real_t w = share == nullptr ? real_t(1) : share[p];
      store_complex(to + p * kStep, {v.re * w, v.im * w});
    }
  }

  // A node's share of line i to its column, on top of what other nodes left there.
  void add(int i, const real_t* share, bool more) const {
    const LineView<real_t> to = views(columns[i]).out;
    for (int64_t p = 0; p < plan.n; ++p) {
      const auto v = load_complex<real_t>(lines[i] + p * kStep);
      const Complex<Lanes<real_t>> part{v.re * share[p], v.im * share[p]};
      store_complex(to.at(p), more ? part + load_complex<real_t>(to.at(p)) : part);
    }
  }

  // `to` becomes, or with `more` gains, `from` times the OTF of node d.
  void multiply_lines(bool packed, int64_t d, const Lines& from, const Lines& to,
                      bool more) const {
    const real_t* const otf = nodes.otf + d * nodes.step;
    each_line([&](int i) {
      const real_t* const h = l.otf_column(otf, columns[i]);
      const real_t* const difference = otf + l.packed_offset() + 2 * columns[i] * plan.n;
      const real_t* const other = from[count - 1 - i];
      for (int64_t p = 0; p < plan.n; ++p) {
        const auto v = load_complex<real_t>(from[i] + p * kStep);
        Complex<Lanes<real_t>> product;
        if (packed) {
          const real_t* const mirrored = other + plan.mirror[p] * kStep;
          product = multiply_packed<kAdjoint, real_t>(
              v, {mirrored[0], mirrored[kStep / 2]}, h + p * kStep, difference + 2 * p);
        } else {
          const auto factor = load_complex<real_t>(h + p * kStep);
          product = kAdjoint ? multiply_conj(v, factor) : multiply(v, factor);
        }
        real_t* const at = to[i] + p * kStep;
        store_complex(at, more ? product + load_complex<real_t>(at) : product);
      }
    });
  }

  const Layout<real_t>& l;
  const ColumnNodes<real_t>& nodes;
  const SpectrumPair<real_t>& spectra;
  const ColumnLimits& limits;
  const Scratch<real_t>& s;
  const LinePlan<real_t>& plan;
  real_t *const lines[2], *const sums[2];
  int64_t columns[2]{};
  int count = 1;
};

template <bool kAdjoint, class real_t>
void convolve_nodes(const Layout<real_t>& l, const Team& team,
                    const SpectrumPair<real_t>& spectra, const ColumnNodes<real_t>& nodes,
                    const ColumnLimits& limits, const Scratch<real_t>& s) {
  NodeColumn<kAdjoint, real_t> column(l, nodes, spectra, limits, s);
  each_column(
      l, team, [&](int64_t c) { column.packed(c); },
      [&](int64_t c, int64_t after) { column.plain(c, after); });
}

OTFUSE_END_ISA_NAMESPACE
