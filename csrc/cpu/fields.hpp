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

template <class real_t>
void copy_strided(const real_t* from, int64_t step, int64_t count, real_t* to,
                  int64_t to_step) {
  if (step == 1 && to_step == 1) {
    std::copy_n(from, count, to);
    return;
  }
  for (int64_t i = 0; i < count; ++i) to[i * to_step] = from[i * step];
}

template <class real_t>
bool is_plain_row(const Field<real_t>& f) {
  return f.stride.x == 1 && f.window.offset.x == 0;
}

// L rows of row-major memory (null: fill) to one part (re or im) of a line, and back. The
// rows `ahead` elements further, the next row block's, come into the cache meanwhile.
template <class real_t>
OTFUSE_KERNEL void rows_to_lanes(const real_t* const* rows, int64_t valid, int64_t nx,
                                 real_t fill, int64_t ahead, real_t* line) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  using V = Lanes<real_t>;
  int64_t x = 0;
  for (; x + kLanes <= valid; x += kLanes) {
    V v[kLanes];
    unroll<kLanes>([&](auto i) OTFUSE_LAMBDA {
      v[i] = broadcast(fill);
      if (rows[i] != nullptr) {
        v[i] = load_unaligned(rows[i] + x);
        __builtin_prefetch(rows[i] + x + ahead, 0, 2);
      }
    });
    Tile<real_t>::transpose(v);
    unroll<kLanes>([&](auto i)
                       OTFUSE_LAMBDA { store_aligned(line + (x + i) * kStep, v[i]); });
  }
  for (; x < nx; ++x) {
    for (int i = 0; i < kLanes; ++i) {
      line[x * kStep + i] = rows[i] == nullptr || x >= valid ? fill : rows[i][x];
    }
  }
}

template <class real_t>
OTFUSE_KERNEL void lanes_to_rows(const real_t* line, int64_t valid, int64_t ahead,
                                 real_t* const* rows) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  using V = Lanes<real_t>;
  int64_t x = 0;
  for (; x + kLanes <= valid; x += kLanes) {
    V v[kLanes];
    unroll<kLanes>([&](auto i)
                       OTFUSE_LAMBDA { v[i] = load_aligned(line + (x + i) * kStep); });
    Tile<real_t>::transpose(v);
    unroll<kLanes>([&](auto i) OTFUSE_LAMBDA {
      if (rows[i] != nullptr) {
        store_unaligned(rows[i] + x, v[i]);
        __builtin_prefetch(rows[i] + x + ahead, 1, 2);
      }
    });
  }
  for (; x < valid; ++x) {
    for (int i = 0; i < kLanes; ++i) {
      if (rows[i] != nullptr) rows[i][x] = line[x * kStep + i];
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
  const int64_t nx = l.grid.x;
  const real_t* rows[kStep];
  for (int i = 0; i < kStep; ++i) {
    rows[i] = row + i < l.grid.y ? field_row(f, l.grid, b, z, row + i) : nullptr;
    if (rows[i] == nullptr || is_plain_row(f)) continue;
    real_t* copy = s.rows + i * nx;
    std::fill(copy, copy + nx, fill);
    each_run(f.window, nx, [&](int64_t to, int64_t from, int64_t count) {
      copy_strided(rows[i] + from * f.stride.x, f.stride.x, count, copy + to, 1);
    });
    rows[i] = copy;
  }
  const int64_t valid = is_plain_row(f) ? f.window.extent.x : nx;
  const int64_t ahead = is_plain_row(f) ? kStep * f.stride.y : 0;
  rows_to_lanes(rows, valid, nx, fill, ahead, line);
  rows_to_lanes(rows + kLanes, valid, nx, fill, ahead, line + kLanes);
}

// Rows row .. row + 2 L - 1 of plane z, loaded from a window, times their shares.
template <class real_t>
void share_rows(const Layout<real_t>& l, const Shares<real_t>& shares, const Window& w,
                int64_t z, int64_t row, real_t* line) {
  constexpr int kStep = Layout<real_t>::kStep;
  const int64_t plane = window_index(z, w.offset.z, w.extent.z, l.grid.z);
  if (plane < 0) return;
  alignas(kVectorBytes) real_t of_rows[kStep] = {};
  for (int i = 0; i < kStep && row + i < l.grid.y; ++i) {
    const int64_t y = window_index(row + i, w.offset.y, w.extent.y, l.grid.y);
    if (y >= 0) of_rows[i] = shares.z[plane] * shares.y[y];
  }
  const auto rows = load_complex<real_t>(of_rows);
  each_run(w, l.grid.x, [&](int64_t to, int64_t from, int64_t count) {
    for (int64_t x = 0; x < count; ++x) {
      real_t* const at = line + (to + x) * kStep;
      const auto v = load_complex<real_t>(at);
      const real_t share = shares.x[from + x];
      store_complex(at, {v.re * rows.re * share, v.im * rows.im * share});
    }
  });
}

// The part of a line that lies in the window, to the caller's array.
template <class real_t>
void store_rows(const Layout<real_t>& l, const real_t* line, const Field<real_t>& f,
                int64_t b, int64_t z, int64_t row, const Scratch<real_t>& s) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  const int64_t nx = l.grid.x;
  real_t *targets[kStep], *rows[kStep];
  for (int i = 0; i < kStep; ++i) {
    targets[i] = row + i < l.grid.y ? field_row(f, l.grid, b, z, row + i) : nullptr;
    const bool direct = targets[i] == nullptr || is_plain_row(f);
    rows[i] = direct ? targets[i] : s.rows + i * nx;
  }
  const int64_t valid = is_plain_row(f) ? f.window.extent.x : nx;
  const int64_t ahead = is_plain_row(f) ? kStep * f.stride.y : 0;
  lanes_to_rows(line, valid, ahead, rows);
  lanes_to_rows(line + kLanes, valid, ahead, rows + kLanes);
  if (is_plain_row(f)) return;
  for (int i = 0; i < kStep; ++i) {
    if (targets[i] == nullptr) continue;
    each_run(f.window, nx, [&](int64_t from, int64_t to, int64_t count) {
      copy_strided(rows[i] + from, 1, count, targets[i] + to * f.stride.x, f.stride.x);
    });
  }
}

OTFUSE_END_ISA_NAMESPACE
