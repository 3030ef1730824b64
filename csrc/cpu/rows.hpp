// SPDX-License-Identifier: BSD-3-Clause
// The x axis: row blocks of 2 L rows to and from the half spectrum. Rows 0 .. L-1 are the
// real part a and rows L .. 2L-1 the imaginary part b of one complex line z = a + i b, so
// any nx, even or odd, needs one complex transform of nx for two rows:
//   2 A[k] = Z[k] + conj Z[-k]      2 B[k] = -i (Z[k] - conj Z[-k])
// The factor 2 stays in the spectrum; the OTF holds its inverse. Lanes change from rows
// to kx by transposing L x L tiles in registers on the way.
#pragma once

#include "cpu/layout.hpp"
#include "cpu/line_fft.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Rows first .. first + L - 1 of kx block `block` of one plane; zeros from `limit` on.
template <class real_t>
struct SpectrumRows {
  static constexpr int kLanes = Simd<real_t>::kLanes;
  real_t* base;
  int64_t first, limit;

  OTFUSE_HD Complex<Lanes<real_t>> load(int i) const {
    if (first + i >= limit) return zero_complex<real_t>();
    return load_complex<real_t>(base + i * 2 * kLanes);
  }
  OTFUSE_HD void store(int i, const Complex<Lanes<real_t>>& v) const {
    if (first + i < limit) store_complex(base + i * 2 * kLanes, v);
  }
};

template <class real_t>
struct RowBlockTiles {
  SpectrumRows<real_t> a, b;
};

template <class real_t>
RowBlockTiles<real_t> row_block_tiles(const Layout<real_t>& l, real_t* plane,
                                      int64_t kx_block, int64_t row, int64_t row_limit) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  real_t* base = plane + (kx_block * l.grid.y + row) * kStep;
  return {{base, row, row_limit}, {base + kLanes * kStep, row + kLanes, row_limit}};
}

// The lines' values at kx = 0 (and Nyquist), which are real in a and in b.
template <class real_t>
void gather_packed(const Layout<real_t>& l, const RowBlockTiles<real_t>& tiles,
                   real_t* line) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  real_t* dc = line;
  real_t* nyquist = l.packed ? line + l.x.position[l.grid.x / 2] * kStep : nullptr;
  for (int i = 0; i < kLanes; ++i) {
    const auto a = tiles.a.load(i), b = tiles.b.load(i);
    dc[i] = a.re[0];
    dc[kLanes + i] = b.re[0];
    if (nyquist == nullptr) continue;
    nyquist[i] = a.im[0];
    nyquist[kLanes + i] = b.im[0];
  }
}

template <class real_t>
void scatter_packed(const Layout<real_t>& l, const real_t* line,
                    const RowBlockTiles<real_t>& tiles) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  const real_t* dc = line;
  const real_t* nyquist = l.packed ? line + l.x.position[l.grid.x / 2] * kStep : nullptr;
  const auto put = [&](const SpectrumRows<real_t>& rows, int i, int lane) {
    if (rows.first + i >= rows.limit) return;
    rows.base[i * kStep] = 2 * dc[lane];
    rows.base[i * kStep + kLanes] = nyquist == nullptr ? real_t(0) : 2 * nyquist[lane];
  };
  for (int i = 0; i < kLanes; ++i) {
    put(tiles.a, i, i);
    put(tiles.b, i, kLanes + i);
  }
}

// One of the four combinations of parts that make Z[k] and Z[-k], transposed and put in
// place.
template <class real_t, class Combine, class Place>
OTFUSE_HD void transpose_into(const RowBlockTiles<real_t>& tiles, Combine combine,
                              Place place) {
  constexpr int kLanes = Simd<real_t>::kLanes;
  Lanes<real_t> v[kLanes];
  unroll<kLanes>([&](auto i)
                     OTFUSE_LAMBDA { v[i] = combine(tiles.a.load(i), tiles.b.load(i)); });
  Tile<real_t>::transpose(v);
  unroll<kLanes>([&](auto k) OTFUSE_LAMBDA {
    if (real_t* p = place(k)) store_aligned(p, v[k]);
  });
}

template <class real_t>
OTFUSE_KERNEL void gather_block(const Layout<real_t>& l,
                                const RowBlockTiles<real_t>& tiles, int64_t kx_block,
                                real_t* line) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  using C = Complex<Lanes<real_t>>;
  const int64_t k0 = kx_block * kLanes, n = l.grid.x;
  const int32_t* position = l.x.position.data();
  const auto at = [&](int k) OTFUSE_LAMBDA -> real_t* {
    if (k0 + k == 0 || k0 + k >= l.kx_count) return nullptr;
    return line + position[k0 + k] * kStep;
  };
  const auto mirrored = [&](int k) OTFUSE_LAMBDA -> real_t* {
    if (k0 + k == 0 || k0 + k >= l.kx_count) return nullptr;
    return line + position[n - k0 - k] * kStep;
  };
  const auto imag = [](real_t* p) OTFUSE_LAMBDA { return p == nullptr ? p : p + kLanes; };
  transpose_into(
      tiles, [](const C& a, const C& b) OTFUSE_LAMBDA { return a.re - b.im; }, at);
  transpose_into(
      tiles, [](const C& a, const C& b) OTFUSE_LAMBDA { return a.im + b.re; },
      [&](int k) OTFUSE_LAMBDA { return imag(at(k)); });
  transpose_into(
      tiles, [](const C& a, const C& b) OTFUSE_LAMBDA { return a.re + b.im; }, mirrored);
  transpose_into(
      tiles, [](const C& a, const C& b) OTFUSE_LAMBDA { return b.re - a.im; },
      [&](int k) OTFUSE_LAMBDA { return imag(mirrored(k)); });
  if (kx_block == 0) gather_packed(l, tiles, line);
}

template <class real_t>
OTFUSE_KERNEL void scatter_block(const Layout<real_t>& l, const real_t* line,
                                 int64_t kx_block, const RowBlockTiles<real_t>& tiles) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  using V = Lanes<real_t>;
  const int64_t k0 = kx_block * kLanes, n = l.grid.x;
  const int32_t* position = l.x.position.data();
  const auto tile = [&](int part, int sign, V* v) OTFUSE_LAMBDA {
    unroll<kLanes>([&](auto i) OTFUSE_LAMBDA {
      const int64_t k = k0 + i;
      if (k == 0 || k >= l.kx_count) {
        v[i] = V{};
      } else {
        const V at = load_aligned(line + position[k] * kStep + part * kLanes);
        const V mirrored = load_aligned(line + position[n - k] * kStep + part * kLanes);
        v[i] = sign > 0 ? at + mirrored : at - mirrored;
      }
    });
    Tile<real_t>::transpose(v);
  };
  V re[kLanes], im[kLanes];
  tile(0, 1, re);
  tile(1, -1, im);
  unroll<kLanes>([&](auto i) OTFUSE_LAMBDA { tiles.a.store(i, {re[i], im[i]}); });
  tile(1, 1, re);
  tile(0, -1, im);
  unroll<kLanes>([&](auto i) OTFUSE_LAMBDA { tiles.b.store(i, {re[i], -im[i]}); });
  if (kx_block == 0) scatter_packed(l, line, tiles);
}

// Rows row .. row + 2 L - 1 of a plane of the spectrum into a line, digit order, and
// back.
template <class real_t>
void gather_rows(const Layout<real_t>& l, real_t* plane, int64_t row, int64_t row_limit,
                 real_t* line) {
  for (int64_t b = 0; b < l.kx_blocks; ++b) {
    gather_block(l, row_block_tiles(l, plane, b, row, row_limit), b, line);
  }
}

template <class real_t>
void scatter_rows(const Layout<real_t>& l, const real_t* line, real_t* plane, int64_t row,
                  int64_t row_limit) {
  for (int64_t b = 0; b < l.kx_blocks; ++b) {
    scatter_block(l, line, b, row_block_tiles(l, plane, b, row, row_limit));
  }
}

// x-inverse, op on every value, x-forward.
template <class real_t, class Op>
void turn_rows(const Layout<real_t>& l, real_t* line, Op& op,
               const Scratch<real_t>& scratch) {
  constexpr int kStep = Layout<real_t>::kStep;
  const auto view = contiguous_line(line, l.grid.x);
  if (!l.x.smooth() || l.x.stages.empty()) {
    inverse_line(l.x, view, view, scratch.chirp);
    for (int64_t x = 0; x < l.grid.x; ++x) {
      store_complex(line + x * kStep, op(x, load_complex<real_t>(line + x * kStep)));
    }
    return forward_line(l.x, view, view, scratch.chirp);
  }
  const int64_t stages = int64_t(l.x.stages.size());
  const SubLines<real_t> sub(l.x);
  for (int64_t i = 0; i < sub.count; ++i)
    inverse_rest(l.x, stages, sub.count, sub.of(view, i));
  const auto& first = l.x.stages[0];
  const real_t* twiddles = l.x.twiddles.data() + first.twiddle;
  with_radix(first.radix, [&](auto radix) {
    turn_stage<decltype(radix)::value>(line, first.sub, twiddles, op);
  });
  for (int64_t i = 0; i < sub.count; ++i)
    forward_rest(l.x, stages, sub.count, sub.of(view, i));
}

OTFUSE_END_ISA_NAMESPACE
