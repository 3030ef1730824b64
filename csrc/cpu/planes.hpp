// SPDX-License-Identifier: BSD-3-Clause
// One plane at a time, while it stays in the L2 cache: y, then x row block by row block.
// The y axis of a flat image (and of a line) is left to the columns.
#pragma once

#include "cpu/columns.hpp"
#include "cpu/rows.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Kx block b of a plane, in place along y; only the first `rows` rows are wanted
// afterwards. Meanwhile the next block comes into the cache: after the last that of the
// next plane, most likely this thread's too.
template <class real_t>
void inverse_y_block(const Layout<real_t>& l, real_t* plane, int64_t b, int64_t rows,
                     const Scratch<real_t>& s) {
  const int64_t column = l.grid.y * l.kStep;
  auto line = contiguous_line(plane + b * column, l.grid.y);
  const LineView<real_t> wanted{line.base, line.stride, rows, s.bin};
  line.ahead = b + 1 < l.kx_blocks ? column : l.plane - b * column;
  inverse_line(l.y, line, wanted, s.chirp);
}

// In place along y; only the first `rows` rows hold something, the others count as zero.
template <class real_t>
void forward_y_block(const Layout<real_t>& l, real_t* plane, int64_t b, int64_t rows,
                     const Scratch<real_t>& s) {
  const auto line = contiguous_line(plane + b * l.grid.y * l.kStep, l.grid.y);
  forward_line(l.y, {line.base, line.stride, rows, s.zeros}, line, s.chirp);
}

template <class real_t>
void inverse_y(const Layout<real_t>& l, real_t* plane, int64_t rows,
               const Scratch<real_t>& s) {
  if (l.flat) return;
  for (int64_t b = 0; b < l.kx_blocks; ++b) inverse_y_block(l, plane, b, rows, s);
}

template <class real_t>
void forward_y(const Layout<real_t>& l, real_t* plane, int64_t rows,
               const Scratch<real_t>& s) {
  if (l.flat) return;
  for (int64_t b = 0; b < l.kx_blocks; ++b) forward_y_block(l, plane, b, rows, s);
}

// Row blocks first .. last - 1 of a plane.
struct RowBlocks {
  int64_t first, last;
};

// f(z, row blocks) over planes that hold `extents` rows: a plane is one task because y
// needs all of it, but the row blocks of a flat image are tasks of their own.
template <class real_t, class F>
void each_plane(const Layout<real_t>& l, const Team& team, const Extents& extents, F f) {
  const int64_t blocks = l.row_blocks(extents.y);
  if (l.flat) {
    team.each(blocks, [&](int64_t b) { f(int64_t(0), RowBlocks{b, b + 1}); });
  } else {
    team.each(extents.z, [&](int64_t z) { f(z, RowBlocks{0, blocks}); });
  }
}

// What happens to a plane between the frequencies: `op_of(row_block)` makes the pointwise
// operation of that row block, op(x, complex lanes) -> complex lanes, then op.finish().
// With kOut its results, with kIn what it is given, count for nothing.
template <Way kWay = Way::kBoth, class real_t, class OpOf>
void turn_plane(const Layout<real_t>& l, real_t* plane, int64_t rows, RowBlocks blocks,
                const OpOf& op_of, const Scratch<real_t>& s) {
  if (kWay != Way::kIn) inverse_y(l, plane, rows, s);
  for (int64_t b = blocks.first; b < blocks.last; ++b) {
    auto op = op_of(b);
    if (kWay != Way::kIn) gather_rows(l, plane, b * l.kStep, rows, s.line);
    turn_rows<kWay>(l, s.line, op, s);
    op.finish();
    if (kWay != Way::kOut) scatter_rows(l, s.line, plane, b * l.kStep, rows);
  }
  if (kWay != Way::kOut) forward_y(l, plane, rows, s);
}

// Only into the frequencies: `op_of(row_block)(line)` makes the values.
template <class real_t, class OpOf>
void enter_plane(const Layout<real_t>& l, real_t* plane, int64_t rows, RowBlocks blocks,
                 const OpOf& op_of, const Scratch<real_t>& s) {
  const auto line = contiguous_line(s.line, l.grid.x);
  for (int64_t b = blocks.first; b < blocks.last; ++b) {
    op_of(b)(s.line);
    forward_line(l.x, line, line, s.chirp);
    scatter_rows(l, s.line, plane, b * l.kStep, rows);
  }
  forward_y(l, plane, rows, s);
}

// Only out of the frequencies: `op_of(row_block)(line)` consumes the values.
template <class real_t, class OpOf>
void leave_plane(const Layout<real_t>& l, real_t* plane, int64_t rows, RowBlocks blocks,
                 const OpOf& op_of, const Scratch<real_t>& s) {
  const auto line = contiguous_line(s.line, l.grid.x);
  inverse_y(l, plane, rows, s);
  for (int64_t b = blocks.first; b < blocks.last; ++b) {
    const auto consume = op_of(b);
    gather_rows(l, plane, b * l.kStep, rows, s.line);
    inverse_line(l.x, line, line, s.chirp);
    consume(s.line);
  }
}

// Every value of a line through a pointwise operation; results are kept where it returns
// one.
template <class real_t, class Op>
void each_value(const Layout<real_t>& l, real_t* line, Op op) {
  for (int64_t x = 0; x < l.grid.x; ++x) {
    store_complex(line + x * l.kStep, op(x, load_complex<real_t>(line + x * l.kStep)));
  }
}

OTFUSE_END_ISA_NAMESPACE
