// SPDX-License-Identifier: BSD-3-Clause
// A PSF that varies: node d along the columns has a share w_d of the light of each place
// in each spectrum t of nodes in planes (cpu/node_planes.hpp), and blurs it with an OTF
// of its own,
//   out = F^-1 sum_td H_td F (w_d in_t)     adjoint: out_t = sum_d w_d F^-1 conj(H_td) F
//   in
// All share one of the two transforms along the columns, and what was seen is one image.
#pragma once

#include "cpu/columns.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class real_t>
struct ColumnNodes {
  int64_t count, spectra;
  const real_t* otf;     // of the first node; of each d all t
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

  NodeColumn(const Layout<real_t>& l, const ColumnNodes<real_t>& nodes, real_t* spectra,
             const ColumnLimits& limits, const Scratch<real_t>& s)
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
    kAdjoint ? correlate(packed, after) : convolve(packed, after);
  }

  void convolve(bool packed, int64_t after) {
    each_node([&](int64_t t, int64_t d, const real_t* share, const real_t* otf) {
      each_line([&](int i) {
        if (share != nullptr) load(t, i, share, lines[i]);
        const auto from = share == nullptr ? views(t, columns[i]).in : line(lines[i]);
        forward_line(plan, from, line(lines[i]), s.chirp);
      });
      multiply_lines(packed, otf, lines, sums, t + d > 0, next_view(t, d, after));
    });
    each_line([&](int i) {
      inverse_line(plan, line(sums[i]), views(0, columns[i]).out, s.chirp);
    });
  }

  void correlate(bool packed, int64_t after) {
    each_line([&](int i) {
      forward_line(plan, views(0, columns[i]).in, line(sums[i]), s.chirp);
    });
    each_node([&](int64_t t, int64_t d, const real_t* share, const real_t* otf) {
      multiply_lines(packed, otf, sums, lines, false, next_view(t, d, after));
      each_line([&](int i) {
        const auto to = share == nullptr ? views(t, columns[i]).out : line(lines[i]);
        inverse_line(plan, line(lines[i]), to, s.chirp);
        if (share != nullptr) add(t, i, share, d > 0);
      });
    });
  }

  LineView<real_t> next_view(int64_t t, int64_t d, int64_t after) const {
    if (d > 0) return {};
    return kAdjoint ? views(t, after).out : views(t, after).in;
  }

  // f(spectrum, node along the columns, its shares or none, its OTF)
  template <class F>
  void each_node(F f) const {
    for (int64_t t = 0; t < nodes.spectra; ++t) {
      for (int64_t d = 0; d < nodes.count; ++d) {
        const real_t* const share = nodes.shares + d * plan.n;
        const int64_t node = d * nodes.spectra + t;
        f(t, d, nodes.count > 1 ? share : nullptr, nodes.otf + node * nodes.step);
      }
    }
  }
  template <class F>
  void each_line(F f) const {
    for (int i = 0; i < count; ++i) f(i);
  }
  LineView<real_t> line(real_t* base) const { return contiguous_line(base, plan.n); }
  ColumnViews<real_t> views(int64_t t, int64_t c) const {
    real_t* const spectrum = spectra + t * l.spectrum_size();
    return column_views<real_t>(l, {spectrum, spectrum}, c, limits, s);
  }

  // Column i times a node's share.
  void load(int64_t t, int i, const real_t* share, real_t* to) const {
    const LineView<real_t> from = views(t, columns[i]).in;
    for (int64_t p = 0; p < plan.n; ++p) {
      const auto v = load_complex<real_t>(from.at(p));
      store_complex(to + p * kStep, {v.re * share[p], v.im * share[p]});
    }
  }

  // A node's share of line i to its column, on top of what other nodes left there.
  void add(int64_t t, int i, const real_t* share, bool more) const {
    const LineView<real_t> to = views(t, columns[i]).out;
    for (int64_t p = 0; p < plan.n; ++p) {
      const auto v = load_complex<real_t>(lines[i] + p * kStep);
      const Complex<Lanes<real_t>> part{v.re * share[p], v.im * share[p]};
      store_complex(to.at(p), more ? part + load_complex<real_t>(to.at(p)) : part);
    }
  }

  // `to` becomes, or with `more` gains, `from` times a node's OTF. The column that comes
  // next is called into the cache meanwhile.
  void multiply_lines(bool packed, const real_t* otf, const Lines& from, const Lines& to,
                      bool more, const LineView<real_t>& next) const {
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
        if (next.base != nullptr) prefetch_complex(next.at(p));
        real_t* const at = to[i] + p * kStep;
        store_complex(at, more ? product + load_complex<real_t>(at) : product);
      }
    });
  }

  const Layout<real_t>& l;
  const ColumnNodes<real_t>& nodes;
  real_t* const spectra;
  const ColumnLimits& limits;
  const Scratch<real_t>& s;
  const LinePlan<real_t>& plan;
  real_t *const lines[2], *const sums[2];
  int64_t columns[2]{};
  int count = 1;
};

// In place: what is seen of all nodes is, or comes from, the first spectrum.
template <bool kAdjoint, class real_t>
void convolve_nodes(const Layout<real_t>& l, const Team& team, real_t* spectra,
                    const ColumnNodes<real_t>& nodes, const ColumnLimits& limits,
                    const Scratch<real_t>& s) {
  NodeColumn<kAdjoint, real_t> column(l, nodes, spectra, limits, s);
  each_column(
      l, team, [&](int64_t c) { column.packed(c); },
      [&](int64_t c, int64_t after) { column.plain(c, after); });
}

OTFUSE_END_ISA_NAMESPACE
