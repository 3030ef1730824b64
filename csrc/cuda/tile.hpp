// SPDX-License-Identifier: BSD-3-Clause
// Flat images that fit in the shared memory of one block: everything that happens to one
// of them, all iterations included, without its spectrum ever leaving the block. Two rows
// are the real and imaginary part of a line of nx values, as in cuda/rows.hpp. After the
// transform along x the line keeps both half spectra: row y's at the places of 1 ..
// nx/2-1, row y + 1's at those of -1, -2 ..., and the four real values of DC and Nyquist
// as (DC, Nyquist) of each row at the places of 0 and nx/2. So column k takes its value
// of row y from line y / 2, and column 0 carries DC + i Nyquist; nx has to be even.
// Device memory, float32: 4 bytes a voxel in and 4 out for a convolution; in the loop 4
// of the image and 8 of the estimate an iteration, which the L2 cache holds.
#pragma once

#include "cuda/layout.hpp"

namespace otfuse::cuda {

template <class real_t>
struct Tile {
  static constexpr int kThreads = 256;
  static constexpr int kBlocksPerMultiprocessor = 2;
  static constexpr int64_t kSumsBytes = (kThreads + kSumGroups) * int64_t(sizeof(double));

  Extents grid;
  LinePlan<real_t> y, x;
  Lines pairs, columns, packed, rest;  // packed: column 0; rest: the others
  int line;                            // from one pair of rows to the next
  int64_t otf_pitch;

  Tile(const Extents& grid, const Tables& tables)
      : grid(grid),
        y(grid.y, tables.y),
        x(grid.x, tables.x),
        pairs{0, int(ceil_div(grid.y, 2)), Divider(ceil_div(grid.y, 2))},
        columns{0, int(grid.x / 2), Divider(grid.x / 2)},
        packed{0, 1, Divider(1)},
        rest{1, int(grid.x / 2) - 1, Divider(std::max<int64_t>(grid.x / 2 - 1, 1))},
        line(x.padding.pitch(x.n)),
        otf_pitch(spectrum_pitch(grid.x)) {}

  // Of a block; 0 where the grid is none for a tile.
  static int64_t bytes(const Extents& grid) {
    const bool possible =
        grid.z == 1 && grid.x % 2 == 0 && has_line_plan(grid.y) && has_line_plan(grid.x);
    if (!possible) return 0;
    const LineStages x = line_stages(grid.x, kLargestRadix<real_t>);
    return ceil_div(grid.y, 2) * x.padding.pitch(x.n) * int64_t(sizeof(Pair<real_t>)) +
           kSumsBytes;
  }

  using C = Complex<real_t>;

  // One block's tile, and the image it belongs to.
  struct Work {
    double* sums;
    Pair<real_t>* tile;
    int64_t item;
  };
  OTFUSE_HD Work work_of(std::byte* shared, int64_t item) const {
    return {reinterpret_cast<double*>(shared),
            reinterpret_cast<Pair<real_t>*>(shared + kSumsBytes), item};
  }

  // op's values, before the transform along x; forward_rows completes it.
  template <class Op>
  OTFUSE_HD void enter(int t, const Work& w, const Op& op) const {
    run_stage<false, kThreads, Order::kButterfliesFirst>(
        t, pairs, x, 0, placed_row_of(w, op),
        [&](const PlacedRow<Op>& row, int i)
            OTFUSE_LAMBDA { return op.enter(row.place, i); },
        Store{});
  }

  // What inverse_rows has left, to op.
  template <class Op>
  OTFUSE_HD void leave(int t, const Work& w, const Op& op) const {
    run_stage<true, kThreads, Order::kButterfliesFirst>(
        t, pairs, x, 0, placed_row_of(w, op), Load{},
        [&](const PlacedRow<Op>& row, int i, const C& v)
            OTFUSE_LAMBDA { op.leave(row.place, i, v); });
  }

  // Both at once: from inverse_rows through op to forward_rows.
  template <class Op>
  OTFUSE_HD void turn(int t, const Work& w, const Op& op) const {
    double sum = 0;
    turn_stage<kThreads>(t, pairs, x, placed_row_of(w, op), Load{}, Store{},
                         PlacedTurn<Op>{op, sum});
    if constexpr (Op::kAddsUp) w.sums[t] = sum;
  }

  template <class Block>
  OTFUSE_HD void forward_rows(Block& block, const Work& w) const {
    OTFUSE_ROLLED
    for (int s = 1; s < x.count; ++s) {
      block.phase([&](int t) OTFUSE_PHASE { row_stage<false>(t, w, s); });
    }
    block.phase([&](int t) OTFUSE_PHASE { part(t, w); });
  }

  template <class Block>
  OTFUSE_HD void inverse_rows(Block& block, const Work& w) const {
    block.phase([&](int t) OTFUSE_PHASE { unite(t, w); });
    OTFUSE_ROLLED
    for (int s = x.count - 1; s > 0; --s) {
      block.phase([&](int t) OTFUSE_PHASE { row_stage<true>(t, w, s); });
    }
  }

  // Half spectra along x times the OTF, along y and back. The last stage of column 0 is
  // no middle one: two columns are packed in it.
  template <class Block>
  OTFUSE_HD void convolve(Block& block, const Work& w, const Pair<real_t>* otf,
                          bool adjoint) const {
    const int last = y.count - 1;
    OTFUSE_ROLLED
    for (int s = 0; s <= last; ++s) {
      block.phase([&](int t) OTFUSE_PHASE {
        if (s == last) middle(t, w, otf, adjoint);
        column_stage<false>(t, w, s < last ? columns : packed, s);
      });
    }
    block.phase([&](int t) OTFUSE_PHASE { multiply_packed(t, w, otf, adjoint); });
    OTFUSE_ROLLED
    for (int s = last; s >= 0; --s) {
      block.phase([&](int t) OTFUSE_PHASE {
        column_stage<true>(t, w, s < last ? columns : packed, s);
      });
    }
  }

 private:
  // A pair of rows in the tile, and where it comes from.
  struct Row {
    Pair<real_t>* values;
    Padding padding;

    OTFUSE_HD Pair<real_t>& at(int i) const { return values[padding.place(i)]; }
  };
  template <class Op>
  struct PlacedRow : Row {
    typename Op::Place place;
  };
  // A column: its values of even and of odd rows are at two places of the pairs' lines.
  struct Column {
    Pair<real_t>*even, *odd;
    int k, line;

    OTFUSE_HD Pair<real_t>& at(int i) const {
      return ((i & 1) == 0 ? even : odd)[(i >> 1) * line];
    }
  };
  template <class Op>
  struct PlacedTurn {
    const Op& op;
    double& sum;

    OTFUSE_HD C fetch(const PlacedRow<Op>& row, int i) const {
      return op.fetch(row.place, i);
    }
    OTFUSE_HD C turn(const PlacedRow<Op>& row, int i, const C& v, const C& held) const {
      return op.turn(row.place, i, v, held, sum);
    }
  };
  struct Load {
    template <class Line>
    OTFUSE_HD C operator()(const Line& line, int i) const {
      return unpack(line.at(i));
    }
  };
  struct Store {
    template <class Line>
    OTFUSE_HD void operator()(const Line& line, int i, const C& v) const {
      line.at(i) = pack(v);
    }
  };

  OTFUSE_HD int mirror(int k) const { return k == 0 ? x.n / 2 : x.n - k; }

  OTFUSE_HD Row row(const Work& w, int c) const { return {w.tile + c * line, x.padding}; }
  template <class Op>
  OTFUSE_HD auto placed_row_of(const Work& w, const Op& op) const {
    return [this, &w, &op](int c) {
      return PlacedRow<Op>{row(w, c), op.place(w.item, 0, 2 * c, 2 * c + 1 < y.n)};
    };
  }
  OTFUSE_HD Column column(const Work& w, int k) const {
    return {w.tile + x.padding.place(x.position[k]),
            w.tile + x.padding.place(x.position[mirror(k)]), k, line};
  }

  template <bool kInverse>
  OTFUSE_HD void row_stage(int t, const Work& w, int s) const {
    run_stage<kInverse, kThreads, Order::kLinesFirst>(
        t, pairs, x, s, [&](int c) { return row(w, c); }, Load{}, Store{});
  }

  template <bool kInverse>
  OTFUSE_HD void column_stage(int t, const Work& w, const Lines& lines, int s) const {
    run_stage<kInverse, kThreads, Order::kLinesFirst>(
        t, lines, y, s, [&](int k) { return column(w, k); }, Load{}, Store{});
  }

  OTFUSE_HD static C product(const C& v, const Pair<real_t>& h, bool adjoint) {
    return adjoint ? multiply_conj(v, unpack(h)) : multiply(v, unpack(h));
  }

  // Last forward stage, OTF and first inverse stage of all columns but the packed one.
  OTFUSE_HD void middle(int t, const Work& w, const Pair<real_t>* otf,
                        bool adjoint) const {
    middle_stage<kThreads>(
        t, rest, y, [&](int k) { return column(w, k); }, Load{}, Store{},
        [&](const Column& column, int i, const C& v)
            OTFUSE_LAMBDA { return product(v, otf[i * otf_pitch + column.k], adjoint); });
  }

  // P = DC + i Nyquist: 2 DC[k] = P[k] + conj P[-k], 2 i Nyquist[k] = P[k] - conj P[-k].
  OTFUSE_HD void multiply_packed(int t, const Work& w, const Pair<real_t>* otf,
                                 bool adjoint) const {
    constexpr real_t half = real_t(0.5);
    const Column both = column(w, 0);
    for (int k = t; 2 * k <= y.n; k += kThreads) {
      const int i = y.position[k], j = y.position[k == 0 ? 0 : y.n - k];
      const C p = unpack(both.at(i)), q = unpack(both.at(j));
      const Pair<real_t>* h = otf + i * otf_pitch;
      const C dc = product({half * (p.re + q.re), half * (p.im - q.im)}, h[0], adjoint);
      const C ny =
          product({half * (p.im + q.im), half * (q.re - p.re)}, h[x.n / 2], adjoint);
      both.at(i) = {dc.re - ny.im, dc.im + ny.re};
      if (i != j) both.at(j) = {dc.re + ny.im, ny.re - dc.im};
    }
  }

  // f(k, value at k's place, value at -k's place) for every pair of rows
  template <class F>
  OTFUSE_HD void each_mirrored(int t, const Work& w, F f) const {
    for (int u = t; u < pairs.count * columns.count; u += kThreads) {
      const int c = columns.by_count.quotient(u), k = u - c * columns.count;
      f(k, row(w, c).at(x.position[k]), row(w, c).at(x.position[mirror(k)]));
    }
  }

  // The spectrum of a complex line to the half spectra of its rows, times 2.
  OTFUSE_HD void part(int t, const Work& w) const {
    each_mirrored(t, w, [&](int k, Pair<real_t>& first, Pair<real_t>& second) {
      const Pair<real_t> a = first, b = second;
      if (k == 0) {
        first = {2 * a.re, 2 * b.re};
        second = {2 * a.im, 2 * b.im};
      } else {
        first = {a.re + b.re, a.im - b.im};
        second = {a.im + b.im, b.re - a.re};
      }
    });
  }

  OTFUSE_HD void unite(int t, const Work& w) const {
    each_mirrored(t, w, [&](int k, Pair<real_t>& first, Pair<real_t>& second) {
      const Pair<real_t> a = first, b = second;
      if (k == 0) {
        first = {a.re, b.re};
        second = {a.im, b.im};
      } else {
        first = {a.re - b.im, a.im + b.re};
        second = {a.re + b.im, b.re - a.im};
      }
    });
  }
};

}  // namespace otfuse::cuda
