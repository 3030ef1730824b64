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

// The tile of 2 L rows and L kx that a row block and a kx block share; rows from `rows`
// on lie beyond the image: zeros are read there and nothing is written.
template <class real_t>
struct RowTile {
  static constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  using C = Complex<Lanes<real_t>>;

  real_t* base;
  int64_t rows;
  int64_t ahead;  // a tile that will be wanted soon; 0: the plane is in the cache

  RowTile(const Layout<real_t>& l, real_t* plane, int64_t kx_block, int64_t row,
          int64_t limit)
      : base(plane + (kx_block * l.grid.y + row) * kStep),
        rows(limit - row),
        ahead(l.streamed && l.flat && kx_block + 2 < l.kx_blocks ? 2 * l.grid.y * kStep
                                                                 : 0) {}

  bool full() const { return rows >= kStep; }

  template <bool kFull>
  OTFUSE_HD C load(int i) const {
    if (!kFull && i >= rows) return zero_complex<real_t>();
    return load_complex<real_t>(base + i * kStep);
  }
  template <bool kFull>
  OTFUSE_HD void store(int i, const C& v) const {
    if (kFull || i < rows) store_complex(base + i * kStep, v);
  }
};

// The lines' values at kx = 0 (and Nyquist), which are real in a and in b.
template <class real_t>
void gather_packed(const Layout<real_t>& l, const RowTile<real_t>& tile, real_t* line) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  real_t* nyquist = l.packed ? line + l.x.position[l.grid.x / 2] * kStep : nullptr;
  for (int i = 0; i < kStep; ++i) {
    const real_t* row = tile.base + i * kStep;
    line[i] = i < tile.rows ? row[0] : real_t(0);
    if (nyquist != nullptr) nyquist[i] = i < tile.rows ? row[kLanes] : real_t(0);
  }
}

template <class real_t>
void scatter_packed(const Layout<real_t>& l, const real_t* line,
                    const RowTile<real_t>& tile) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  const real_t* nyquist = l.packed ? line + l.x.position[l.grid.x / 2] * kStep : nullptr;
  for (int i = 0; i < std::min<int64_t>(kStep, tile.rows); ++i) {
    tile.base[i * kStep] = 2 * line[i];
    tile.base[i * kStep + kLanes] = nyquist == nullptr ? real_t(0) : 2 * nyquist[i];
  }
}

// One of the four combinations of parts that make Z[k] and Z[-k], transposed and put in
// place.
template <bool kFull, class real_t, class Combine>
OTFUSE_HD void gather_part(const RowTile<real_t>& tile, const int32_t* place,
                           real_t* part, Combine combine) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  Lanes<real_t> v[kLanes];
  unroll<kLanes>([&](auto i) OTFUSE_LAMBDA {
    v[i] = combine(tile.template load<kFull>(i), tile.template load<kFull>(i + kLanes));
  });
  Tile<real_t>::transpose(v);
  unroll<kLanes>([&](auto k) OTFUSE_LAMBDA {
    store_aligned(part + int64_t(place[k]) * kStep, v[k]);
  });
}

template <bool kFull, class real_t>
OTFUSE_KERNEL void gather_tile(const RowTile<real_t> tile, const int32_t* place,
                               const int32_t* mirror, real_t* line) {
  constexpr int kLanes = Simd<real_t>::kLanes;
  using C = Complex<Lanes<real_t>>;
  if (kFull && tile.ahead != 0) {
    unroll<2 * kLanes>([&](auto i) OTFUSE_LAMBDA {
      prefetch_complex(tile.base + tile.ahead + i * 2 * kLanes);
    });
  }
  gather_part<kFull>(tile, place, line,
                     [](const C& a, const C& b) OTFUSE_LAMBDA { return a.re - b.im; });
  gather_part<kFull>(tile, place, line + kLanes,
                     [](const C& a, const C& b) OTFUSE_LAMBDA { return a.im + b.re; });
  gather_part<kFull>(tile, mirror, line,
                     [](const C& a, const C& b) OTFUSE_LAMBDA { return a.re + b.im; });
  gather_part<kFull>(tile, mirror, line + kLanes,
                     [](const C& a, const C& b) OTFUSE_LAMBDA { return b.re - a.im; });
}

template <bool kFull, class real_t>
OTFUSE_KERNEL void scatter_tile(const real_t* line, const int32_t* place,
                                const int32_t* mirror, const RowTile<real_t> tile) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  using V = Lanes<real_t>;
  const auto part = [&](int offset, auto combine, V* v) OTFUSE_LAMBDA {
    unroll<kLanes>([&](auto k) OTFUSE_LAMBDA {
      const V at = load_aligned(line + int64_t(place[k]) * kStep + offset);
      const V mirrored = load_aligned(line + int64_t(mirror[k]) * kStep + offset);
      v[k] = combine(at, mirrored);
    });
    Tile<real_t>::transpose(v);
  };
  const auto sum = [](const V& a, const V& b) OTFUSE_LAMBDA { return a + b; };
  const auto difference = [](const V& a, const V& b) OTFUSE_LAMBDA { return a - b; };
  const auto reversed = [](const V& a, const V& b) OTFUSE_LAMBDA { return b - a; };
  const auto put = [&](int first, int offset, const V* v) OTFUSE_LAMBDA {
    unroll<kLanes>([&](auto i) OTFUSE_LAMBDA {
      if (kFull || first + i < tile.rows) {
        store_aligned(tile.base + (first + i) * kStep + offset, v[i]);
      }
    });
  };
  V v[kLanes];
  part(0, sum, v);
  put(0, 0, v);
  part(kLanes, difference, v);
  put(0, kLanes, v);
  part(kLanes, sum, v);
  put(kLanes, 0, v);
  part(0, reversed, v);
  put(kLanes, kLanes, v);
}

// Rows row .. row + 2 L - 1 of a plane of the spectrum into a line, digit order, and
// back.
template <class real_t>
void gather_rows(const Layout<real_t>& l, real_t* plane, int64_t row, int64_t limit,
                 real_t* line) {
  constexpr int kLanes = Layout<real_t>::kLanes;
  for (int64_t b = 0; b < l.kx_blocks; ++b) {
    const RowTile<real_t> tile(l, plane, b, row, limit);
    const int32_t* place = l.place.data() + b * kLanes;
    const int32_t* mirror = l.mirror_place.data() + b * kLanes;
    if (tile.full()) {
      gather_tile<true>(tile, place, mirror, line);
    } else {
      gather_tile<false>(tile, place, mirror, line);
    }
    if (b == 0) gather_packed(l, tile, line);
  }
}

template <class real_t>
void scatter_rows(const Layout<real_t>& l, real_t* line, real_t* plane, int64_t row,
                  int64_t limit) {
  constexpr int kLanes = Layout<real_t>::kLanes, kStep = Layout<real_t>::kStep;
  store_complex(line + l.grid.x * kStep,
                zero_complex<real_t>());  // for lanes without a place
  for (int64_t b = 0; b < l.kx_blocks; ++b) {
    const RowTile<real_t> tile(l, plane, b, row, limit);
    const int32_t* place = l.place.data() + b * kLanes;
    const int32_t* mirror = l.mirror_place.data() + b * kLanes;
    if (tile.full()) {
      scatter_tile<true>(line, place, mirror, tile);
    } else {
      scatter_tile<false>(line, place, mirror, tile);
    }
    if (b == 0) scatter_packed(l, line, tile);
  }
}

// x-inverse, op on every value, x-forward; with kOut and kIn only one of the transforms.
template <Way kWay, class real_t, class Op>
void turn_rows(const Layout<real_t>& l, real_t* line, Op& op,
               const Scratch<real_t>& scratch) {
  constexpr int kStep = Layout<real_t>::kStep;
  const auto view = contiguous_line(line, l.grid.x);
  if (!l.x.smooth() || l.x.stages.empty()) {
    if (kWay != Way::kIn) inverse_line(l.x, view, view, scratch.chirp);
    for (int64_t x = 0; x < l.grid.x; ++x) {
      store_complex(line + x * kStep, op(x, load_complex<real_t>(line + x * kStep)));
    }
    if (kWay != Way::kOut) forward_line(l.x, view, view, scratch.chirp);
    return;
  }
  const int64_t stages = int64_t(l.x.stages.size());
  const SubLines<real_t> sub(l.x);
  for (int64_t i = 0; i < sub.count && kWay != Way::kIn; ++i)
    inverse_rest(l.x, stages, sub.count, sub.of(view, i));
  const auto& first = l.x.stages[0];
  const real_t* twiddles = l.x.twiddles.data() + first.twiddle;
  with_radix(first.radix, [&](auto radix) {
    turn_stage<decltype(radix)::value, kWay>(line, first.sub, twiddles, op);
  });
  for (int64_t i = 0; i < sub.count && kWay != Way::kOut; ++i)
    forward_rest(l.x, stages, sub.count, sub.of(view, i));
}

OTFUSE_END_ISA_NAMESPACE
