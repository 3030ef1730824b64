// SPDX-License-Identifier: BSD-3-Clause
// How arrays lie in memory inside the engine, with L lanes:
//   real arrays  [z][row block][x][2][L]        a row block is 2 L rows: L real parts of
//   the
//                                               complex line, then L imaginary parts
//   spectrum     [z][kx block][ky][2][L]        L neighbouring kx, real parts then
//   imaginary otf          [kx block][ky][kz][2][L], [ky][kz][2]
// y and z frequencies are in digit-reversed order; kx runs from 0 to (nx - 1) / 2. Where
// nx is even, the column kx = 0 carries the Nyquist column as its imaginary part (both
// are transforms of real numbers), which saves a block of padding; the second part of the
// otf undoes it.
#pragma once

#include <algorithm>
#include <list>
#include <memory>
#include <mutex>

#include "core/params.hpp"
#include "cpu/line_plan.hpp"
#include "cpu/simd.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

inline constexpr int64_t kL2Bytes = 1 << 20;  // of the processors this was measured on

template <class real_t>
struct Layout {
  static constexpr int kLanes = Simd<real_t>::kLanes;
  static constexpr int kStep =
      2 * kLanes;  // reals in one complex vector; rows in a row block

  Extents grid;
  LinePlan<real_t> x, y, z;
  int64_t kx_count, kx_blocks;
  bool packed;        // Nyquist rides with DC
  bool flat;          // one plane: the columns run along y
  int64_t plane;      // reals from one z to the next in the spectrum
  int64_t row_block;  // reals of a row block
  bool streamed;      // a plane that the L2 cache does not hold
  // Where k and -k of each lane of each kx block lie in a transformed line; lanes without
  // a place of their own (kx = 0, padding) share the one behind the line.
  std::vector<int32_t> place, mirror_place;

  explicit Layout(const Extents& g)
      : grid(g),
        x(make_line_plan<real_t>(g.x, kWide)),
        y(make_line_plan<real_t>(g.y, kWide)),
        z(make_line_plan<real_t>(g.z, kWide)),
        kx_count((g.x + 1) / 2),
        kx_blocks(ceil_div(kx_count, kLanes)),
        packed(g.x % 2 == 0),
        flat(g.z == 1),
        // One vector more than a plane: planes a power of two apart share cache sets.
        plane(kx_blocks * g.y * kStep + kStep),
        row_block(g.x * kStep),
        streamed(plane * int64_t(sizeof(real_t)) > kL2Bytes / 2),
        place(kx_blocks * kLanes, int32_t(g.x)),
        mirror_place(place) {
    for (int64_t k = 1; k < kx_count; ++k) {
      place[k] = x.position[k];
      mirror_place[k] = x.position[g.x - k];
    }
  }

  const LinePlan<real_t>& column_plan() const { return flat ? y : z; }
  int64_t columns_per_block() const { return flat ? 1 : grid.y; }
  int64_t columns() const { return kx_blocks * columns_per_block(); }
  int64_t column_stride() const { return flat ? kStep : plane; }
  int64_t column_offset(int64_t c) const { return c * (flat ? grid.y * kStep : kStep); }
  int64_t mirror_column(int64_t c) const { return flat ? c : y.mirror[c]; }

  int64_t row_blocks(int64_t rows) const { return ceil_div(rows, kStep); }
  int64_t real_size(int64_t planes, int64_t rows) const {
    return planes * row_blocks(rows) * row_block;
  }
  int64_t spectrum_size() const { return grid.z * plane; }
  int64_t packed_offset() const { return kx_blocks * grid.y * grid.z * kStep; }
  // Whole vectors, so that one OTF behind another is aligned too.
  int64_t otf_size() const {
    return packed_offset() + (packed ? ceil_div(2 * grid.y * grid.z, kStep) * kStep : 0);
  }
  const real_t* otf_column(const real_t* otf, int64_t c) const {
    return otf + c * column_plan().n * kStep;
  }
};

// One thread's buffers, cut from one piece of memory.
template <class real_t>
struct Scratch {
  static constexpr int kStep = Layout<real_t>::kStep;

  real_t* line;     // the longest line
  real_t* partner;  // a second column
  real_t* chirp;
  real_t* rows;  // a row block, row by row
  real_t* zeros;
  real_t* bin;
  real_t* extra;  // as much as the job asked for

  static int64_t line_size(const Layout<real_t>& l) {
    return kStep * std::max({l.grid.x + 1, l.grid.y, l.grid.z});
  }
  static int64_t chirp_size(const Layout<real_t>& l) {
    return kStep * std::max({l.x.scratch(), l.y.scratch(), l.z.scratch()});
  }
  static int64_t size(const Layout<real_t>& l) {
    return 2 * line_size(l) + chirp_size(l) + l.row_block + 2 * kStep;
  }

  Scratch(const Layout<real_t>& l, real_t* memory)
      : line(memory),
        partner(line + line_size(l)),
        chirp(partner + line_size(l)),
        rows(chirp + chirp_size(l)),
        zeros(rows + l.row_block),
        bin(zeros + kStep),
        extra(bin + kStep) {
    std::fill(zeros, zeros + kStep, real_t(0));
  }
};

// Plans are kept: making one costs more than transforming a small image.
template <class real_t>
std::shared_ptr<const Layout<real_t>> layout_of(const Extents& grid) {
  using Entry = std::shared_ptr<const Layout<real_t>>;
  constexpr size_t kKept = 16;
  static std::mutex mutex;
  static std::list<Entry> recent;
  std::lock_guard lock(mutex);
  auto found = std::find_if(recent.begin(), recent.end(),
                            [&](const Entry& e) { return e->grid == grid; });
  if (found == recent.end()) {
    recent.push_front(std::make_shared<const Layout<real_t>>(grid));
    if (recent.size() > kKept) recent.pop_back();
  } else {
    recent.splice(recent.begin(), recent, found);
  }
  return recent.front();
}

OTFUSE_END_ISA_NAMESPACE
