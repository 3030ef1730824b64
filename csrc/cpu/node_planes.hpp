// SPDX-License-Identifier: BSD-3-Clause
// A PSF that varies within planes: each of its nodes (j, k) along y and x blurs its share
// w_j(y) v_k(x) of the estimate, so each has a spectrum,
//   S_jk = F_y w_j F_x v_k x          back: x = sum_k v_k F_x^-1 sum_j w_j F_y^-1 S_jk
// Rows of a flat image are transformed with its columns (cpu/node_columns.hpp).
#pragma once

#include "cpu/planes.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class real_t>
int64_t spectra_of_nodes(const Layout<real_t>& l, const Extents& nodes) {
  return (l.flat ? 1 : nodes.y) * nodes.x;
}

template <class real_t>
class NodePlanes {
 public:
  using V = Lanes<real_t>;

  NodePlanes(const Layout<real_t>& l, const Extents& nodes, const Shares<real_t>& shares,
             real_t* spectra, const Scratch<real_t>& s)
      : l(l), nodes(nodes), shares(shares), spectra(spectra), s(s) {}

  // As turn_plane, enter_plane and leave_plane (cpu/planes.hpp) of one spectrum.
  template <Way kWay, class OpOf>
  void turn(int64_t z, RowBlocks blocks, const OpOf& op_of) const {
    if (kWay != Way::kIn) inverse_columns(z);
    for (int64_t b = blocks.first; b < blocks.last; ++b) {
      auto op = op_of(b);
      if (kWay != Way::kIn) gather(z, b);
      for (int64_t x = 0; x < l.grid.x; ++x) {
        real_t* const at = s.line + x * l.kStep;
        store_complex(at, op(x, load_complex<real_t>(at)));
      }
      op.finish();
      if (kWay != Way::kOut) scatter(z, b);
    }
    if (kWay != Way::kOut) forward_columns(z);
  }

  template <class OpOf>
  void enter(int64_t z, RowBlocks blocks, const OpOf& op_of) const {
    for (int64_t b = blocks.first; b < blocks.last; ++b) {
      op_of(b)(s.line);
      scatter(z, b);
    }
    forward_columns(z);
  }

  template <class OpOf>
  void leave(int64_t z, RowBlocks blocks, const OpOf& op_of) const {
    inverse_columns(z);
    for (int64_t b = blocks.first; b < blocks.last; ++b) {
      const auto consume = op_of(b);
      gather(z, b);
      consume(s.line);
    }
  }

 private:
  real_t* plane(int64_t z, int64_t j, int64_t k) const {
    return spectra + (j * nodes.x + k) * l.spectrum_size() + z * l.plane;
  }

  static void scale(const real_t* from, real_t by, real_t* to) {
    const auto v = load_complex<real_t>(from);
    store_complex(to, {v.re * by, v.im * by});
  }
  static void add_scaled(const real_t* from, real_t by, real_t* to) {
    const auto v = load_complex<real_t>(from), sum = load_complex<real_t>(to);
    store_complex(to, {sum.re + v.re * by, sum.im + v.im * by});
  }

  // A column of a plane times the share of node j, in place of `to` or on top of it.
  void share_column(const real_t* from, int64_t j, bool more, real_t* to) const {
    if (nodes.y == 1) return;
    const real_t* const share = shares.y + j * l.grid.y;
    for (int64_t y = 0; y < l.grid.y; ++y) {
      const int64_t at = y * l.kStep;
      more ? add_scaled(from + at, share[y], to + at)
           : scale(from + at, share[y], to + at);
    }
  }

  // All nodes along y become one, a column at a time while it is in the cache, and back.
  void inverse_columns(int64_t z) const {
    if (l.flat) return;
    for (int64_t k = 0; k < nodes.x; ++k) {
      for (int64_t b = 0; b < l.kx_blocks; ++b) {
        const int64_t at = b * l.grid.y * l.kStep;
        for (int64_t j = 0; j < nodes.y; ++j) {
          inverse_y_block(l, plane(z, j, k), b, l.grid.y, s);
          share_column(plane(z, j, k) + at, j, j > 0, plane(z, 0, k) + at);
        }
      }
    }
  }
  void forward_columns(int64_t z) const {
    if (l.flat) return;
    for (int64_t k = 0; k < nodes.x; ++k) {
      for (int64_t b = 0; b < l.kx_blocks; ++b) {
        const int64_t at = b * l.grid.y * l.kStep;
        for (int64_t j = nodes.y - 1; j >= 0; --j) {  // the first is in the place of all
          share_column(plane(z, 0, k) + at, j, false, plane(z, j, k) + at);
          forward_y_block(l, plane(z, j, k), b, l.grid.y, s);
        }
      }
    }
  }

  // A row block's values from the nodes along x, and back.
  void gather(int64_t z, int64_t b) const {
    for (int64_t k = 0; k < nodes.x; ++k) {
      real_t* const base = k == 0 ? s.line : s.partner;
      const real_t* const share = shares.x + k * l.grid.x;
      const auto line = contiguous_line(base, l.grid.x);
      gather_rows(l, plane(z, 0, k), b * l.kStep, l.grid.y, base);
      inverse_line(l.x, line, line, s.chirp);
      for (int64_t x = 0; x < l.grid.x; ++x) {
        real_t* const at = s.line + x * l.kStep;
        k == 0 ? scale(at, share[x], at) : add_scaled(base + x * l.kStep, share[x], at);
      }
    }
  }
  void scatter(int64_t z, int64_t b) const {
    const auto line = contiguous_line(s.partner, l.grid.x);
    for (int64_t k = 0; k < nodes.x; ++k) {
      const real_t* const share = shares.x + k * l.grid.x;
      for (int64_t x = 0; x < l.grid.x; ++x) {
        scale(s.line + x * l.kStep, share[x], s.partner + x * l.kStep);
      }
      forward_line(l.x, line, line, s.chirp);
      scatter_rows(l, s.partner, plane(z, 0, k), b * l.kStep, l.grid.y);
    }
  }

  const Layout<real_t>& l;
  const Extents nodes;
  const Shares<real_t>& shares;
  real_t* const spectra;
  const Scratch<real_t>& s;
};

OTFUSE_END_ISA_NAMESPACE
