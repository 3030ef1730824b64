// SPDX-License-Identifier: BSD-3-Clause
// The caller's arrays to and from row blocks: the window is cut or padded, rows become
// lanes.
#pragma once

#include "core/window.hpp"
#include "cpu/layout.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// f(first grid x, first window x, count) for the one or two runs of a window along x.
template <class F>
void each_run(const Window& w, int64_t nx, F f) {
  const int64_t run = std::min(w.extent.x, nx - w.offset.x);
  f(w.offset.x, int64_t(0), run);
  if (run < w.extent.x) f(int64_t(0), run, w.extent.x - run);
}

// f(x) for chunks of L places that cover the first `count`; the last may overlap the one
// before. False where there are fewer.
template <class real_t, class F>
OTFUSE_HD bool each_chunk(int64_t count, F f) {
  constexpr int kLanes = Simd<real_t>::kLanes;
  if (count < kLanes) return false;
  for (int64_t x = 0; x < count; x += kLanes) f(std::min(x, count - kLanes));
  return true;
}

// `count` places of L rows of row-major memory (null: fill) from place `from` on, to one
// part (re or im) of a line, and back. The rows `ahead` elements further, the next row
// block's, come into the cache meanwhile.
template <class real_t>
OTFUSE_KERNEL void rows_to_lanes(const real_t* const* rows, int64_t from, int64_t count,
                                 real_t fill, int64_t ahead, real_t* line) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  using V = Lanes<real_t>;
  const auto chunk = [&](int64_t x) OTFUSE_LAMBDA {
    V v[kLanes];
    unroll<kLanes>([&](auto i) OTFUSE_LAMBDA {
      v[i] = broadcast(fill);
      if (rows[i] != nullptr) {
        v[i] = load_unaligned(rows[i] + from + x);
        __builtin_prefetch(rows[i] + from + x + ahead, 0, 2);
      }
    });
    Tile<real_t>::transpose(v);
    unroll<kLanes>([&](auto i)
                       OTFUSE_LAMBDA { store_aligned(line + (x + i) * kStep, v[i]); });
  };
  if (each_chunk<real_t>(count, chunk)) return;
  for (int64_t x = 0; x < count; ++x) {
    for (int i = 0; i < kLanes; ++i) {
      line[x * kStep + i] = rows[i] == nullptr ? fill : rows[i][from + x];
    }
  }
}

template <class real_t>
OTFUSE_KERNEL void lanes_to_rows(const real_t* line, int64_t count, int64_t ahead,
                                 int64_t to, real_t* const* rows) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  using V = Lanes<real_t>;
  const auto chunk = [&](int64_t x) OTFUSE_LAMBDA {
    V v[kLanes];
    unroll<kLanes>([&](auto i)
                       OTFUSE_LAMBDA { v[i] = load_aligned(line + (x + i) * kStep); });
    Tile<real_t>::transpose(v);
    unroll<kLanes>([&](auto i) OTFUSE_LAMBDA {
      if (rows[i] != nullptr) {
        store_unaligned(rows[i] + to + x, v[i]);
        __builtin_prefetch(rows[i] + to + x + ahead, 1, 2);
      }
    });
  };
  if (each_chunk<real_t>(count, chunk)) return;
  for (int64_t x = 0; x < count; ++x) {
    for (int i = 0; i < kLanes; ++i) {
      if (rows[i] != nullptr) rows[i][to + x] = line[x * kStep + i];
    }
  }
}

// Rows row .. row + 2 L - 1 of grid plane z of item b into a line; `fill` outside the
// window.
template <class real_t>
void load_rows(const Layout<real_t>& l, const Field<const real_t>& f, int64_t b,
               int64_t z, int64_t row, real_t fill, real_t* line,
               const Scratch<real_t>& s) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  const bool direct = f.stride.x == 1;
  const int64_t ahead = direct ? kStep * f.stride.y : 0;
  const real_t* rows[kStep];
  for (int i = 0; i < kStep; ++i) {
    rows[i] = row + i < l.grid.y ? field_row(f, l.grid, b, z, row + i) : nullptr;
    if (rows[i] == nullptr || direct) continue;
    real_t* copy = s.rows + i * l.grid.x;
    for (int64_t x = 0; x < f.window.extent.x; ++x) copy[x] = rows[i][x * f.stride.x];
    rows[i] = copy;
  }
  if (f.window.extent.x < l.grid.x) std::fill_n(line, l.row_block, fill);
  each_run(f.window, l.grid.x, [&](int64_t to, int64_t from, int64_t count) {
    real_t* const at = line + to * kStep;
    rows_to_lanes(rows, from, count, fill, ahead, at);
    rows_to_lanes(rows + kLanes, from, count, fill, ahead, at + kLanes);
  });
}

// What rows row .. row + 2 L - 1 of plane z have of a window's shares.
template <class real_t>
struct RowShares {
  static constexpr int kStep = Layout<real_t>::kStep;
  alignas(kVectorBytes) real_t rows[kStep];
  const real_t* x;  // none: 1

  RowShares(const Layout<real_t>& l, const Shares<real_t>& shares, const Window& w,
            int64_t z, int64_t row)
      : x(shares.x) {
    const int64_t plane = window_index(z, w.offset.z, w.extent.z, l.grid.z);
    for (int i = 0; i < kStep; ++i) {
      const int64_t y = row + i < l.grid.y
                            ? window_index(row + i, w.offset.y, w.extent.y, l.grid.y)
                            : -1;
      const bool shared = shares && plane >= 0 && y >= 0;
      rows[i] = shared ? shares.z[plane] * shares.y[y] : real_t(1);
    }
  }
};

// A line loaded from a window times its shares.
template <class real_t>
void share_line(const Layout<real_t>& l, const RowShares<real_t>& shares, const Window& w,
                real_t* line) {
  const auto rows = load_complex<real_t>(shares.rows);
  each_run(w, l.grid.x, [&](int64_t to, int64_t from, int64_t count) {
    for (int64_t x = 0; x < count; ++x) {
      real_t* const at = line + (to + x) * l.kStep;
      const auto v = load_complex<real_t>(at);
      const real_t share = shares.x[from + x];
      store_complex(at, {v.re * rows.re * share, v.im * rows.im * share});
    }
  });
}

// Adds `count` places of one part of a line, times their shares, to L rows.
template <class real_t>
OTFUSE_KERNEL void add_lanes(const real_t* line, int64_t count, int64_t to,
                             const Extents& stride, const real_t* of_rows,
                             const real_t* of_x, real_t* const* rows) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  using V = Lanes<real_t>;
  int64_t x = 0;
  for (; stride.x == 1 && x + kLanes <= count; x += kLanes) {
    V v[kLanes];
    unroll<kLanes>([&](auto i)
                       OTFUSE_LAMBDA { v[i] = load_aligned(line + (x + i) * kStep); });
    Tile<real_t>::transpose(v);
    const V share = of_x == nullptr ? V{} + 1 : load_unaligned(of_x + to + x);
    unroll<kLanes>([&](auto i) OTFUSE_LAMBDA {
      if (rows[i] != nullptr) {
        real_t* const at = rows[i] + to + x;
        store_unaligned(at, V(load_unaligned(at) + v[i] * share * of_rows[i]));
        __builtin_prefetch(at + kStep * stride.y, 1, 2);
      }
    });
  }
  for (; x < count; ++x) {
    const real_t share = of_x == nullptr ? real_t(1) : of_x[to + x];
    for (int i = 0; i < kLanes; ++i) {
      if (rows[i] == nullptr) continue;
      rows[i][(to + x) * stride.x] += line[x * kStep + i] * share * of_rows[i];
    }
  }
}

// The part of a line that lies in the window, times its shares, on top of the caller's
// array.
template <class real_t>
void add_rows(const Layout<real_t>& l, const real_t* line, const Field<real_t>& f,
              int64_t b, int64_t z, int64_t row, const RowShares<real_t>& shares) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  real_t* rows[kStep];
  for (int i = 0; i < kStep; ++i) {
    rows[i] = row + i < l.grid.y ? field_row(f, l.grid, b, z, row + i) : nullptr;
  }
  each_run(f.window, l.grid.x, [&](int64_t from, int64_t to, int64_t count) {
    for (int part = 0; part < kStep; part += kLanes) {
      add_lanes(line + from * kStep + part, count, to, f.stride, shares.rows + part,
                shares.x, rows + part);
    }
  });
}

// The part of a line that lies in the window, to the caller's array.
template <class real_t>
void store_rows(const Layout<real_t>& l, const real_t* line, const Field<real_t>& f,
                int64_t b, int64_t z, int64_t row, const Scratch<real_t>& s) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  const bool direct = f.stride.x == 1;
  const int64_t ahead = direct ? kStep * f.stride.y : 0;
  real_t *targets[kStep], *rows[kStep];
  for (int i = 0; i < kStep; ++i) {
    targets[i] = row + i < l.grid.y ? field_row(f, l.grid, b, z, row + i) : nullptr;
    rows[i] = direct || targets[i] == nullptr ? targets[i] : s.rows + i * l.grid.x;
  }
  each_run(f.window, l.grid.x, [&](int64_t from, int64_t to, int64_t count) {
    const real_t* const at = line + from * kStep;
    lanes_to_rows(at, count, ahead, to, rows);
    lanes_to_rows(at + kLanes, count, ahead, to, rows + kLanes);
  });
  if (direct) return;
  for (int i = 0; i < kStep; ++i) {
    if (targets[i] == nullptr) continue;
    for (int64_t x = 0; x < f.window.extent.x; ++x) {
      targets[i][x * f.stride.x] = rows[i][x];
    }
  }
}

OTFUSE_END_ISA_NAMESPACE
