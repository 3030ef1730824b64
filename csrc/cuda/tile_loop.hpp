// SPDX-License-Identifier: BSD-3-Clause
// The whole Richardson-Lucy loop of a flat image in one block; see cuda/tile.hpp.
#pragma once

#include "cuda/richardson_lucy.hpp"
#include "cuda/tile.hpp"

namespace otfuse::cuda {

template <class real_t>
struct TileLoop {
  static constexpr int kThreads = Tile<real_t>::kThreads;
  static constexpr int kBlocksPerMultiprocessor = Tile<real_t>::kBlocksPerMultiprocessor;

  Tile<real_t> tile;
  LoopArrays<real_t> arrays;
  RatioOp<real_t, true> ratio;
  bool full;                               // with a background map, or the I-divergence
  FieldSource<real_t> estimate, previous;  // where the loop starts
  FieldSink<real_t> out, out_previous;     // the second may be absent
  const Pair<real_t>*otf, *otf_back;
  KernelIndex kernel;
  int64_t otf_stride;
  int64_t n_iters, first_iteration;
  double* divergence;  // (batch, n_iters); none: not wanted

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const auto work = tile.work_of(block.shared(), block.index);
    const int64_t nth = kernel.of(block.index) * otf_stride;
    copy_in(block, estimate, arrays.estimate);
    if (arrays.previous != nullptr) copy_in(block, previous, arrays.previous);
    // Half an iteration each, in one loop, so that its stages are compiled once: -1 and 0
    // make the first point, and before it the weight; odd ones make the ratio, even ones
    // the next estimate.
    const int64_t begin = arrays.weight != nullptr ? -1 : 0, end = 2 * n_iters;
    OTFUSE_ROLLED
    for (int64_t half = begin; half <= end; ++half) {
      const bool odd = half % 2 != 0;
      if (half > begin) {
        tile.convolve(block, work, (odd || half == 0 ? otf : otf_back) + nth, !odd);
        tile.inverse_rows(block, work);
      }
      if (half <= 0) {
        begin_loop(block, work, half, begin);
      } else if (odd && full) {
        block.phase([&](int t) OTFUSE_PHASE { tile.turn(t, work, ratio); });
        if (divergence != nullptr) {
          double* const of_item = divergence + block.index * n_iters;
          add_up<kThreads>(block, work.sums, of_item + half / 2);
        }
      } else if (odd) {
        const RatioOp<real_t, false> plain = ratio.plain();
        block.phase([&](int t) OTFUSE_PHASE { tile.turn(t, work, plain); });
      } else {
        const UpdateOp<real_t> update{arrays, step(half / 2 - 1), step(half / 2)};
        block.phase([&](int t) OTFUSE_PHASE { tile.turn(t, work, update); });
      }
      if (half < end) tile.forward_rows(block, work);
    }
    copy_out(block, out, arrays.estimate);
    if (out_previous.field) copy_out(block, out_previous, arrays.previous);
  }

 private:
  // Enters what the camera observed, or the first point; the weight is made in between.
  template <class Block>
  OTFUSE_HD void begin_loop(Block& block, const typename Tile<real_t>::Work& work,
                            int64_t half, int64_t begin) const {
    if (half > begin) {
      block.phase([&](int t)
                      OTFUSE_PHASE { tile.leave(t, work, WeightSink<real_t>{arrays}); });
    }
    const FirstEntry entry{{ratio.image}, {arrays, step(0)}, half < 0};
    block.phase([&](int t) OTFUSE_PHASE { tile.enter(t, work, entry); });
  }

  struct FirstEntry {
    ObservedSource<real_t> observed;
    FirstPoint<real_t> point;
    bool takes_observed;

    struct Place {
      typename ObservedSource<real_t>::Place observed;
      typename FirstPoint<real_t>::Place point;
    };
    OTFUSE_HD Place place(int64_t item, int64_t z, int64_t y, bool second) const {
      return {observed.place(item, z, y, second), point.place(item, z, y, second)};
    }
    OTFUSE_HD Complex<real_t> enter(const Place& p, int x) const {
      return takes_observed ? observed.enter(p.observed, x) : point.enter(p.point, x);
    }
  };

  OTFUSE_HD real_t step(int64_t i) const {
    return arrays.previous == nullptr ? real_t(0)
                                      : momentum_step<real_t>(first_iteration + i + 1);
  }

  // f(place of the pair of rows, x, index of the first row's value)
  template <class Block, class Op, class F>
  OTFUSE_HD void each_value(Block& block, const Op& op, F f) const {
    const Extents& grid = arrays.grid;
    block.phase([&](int t) OTFUSE_PHASE {
      for (int64_t y = 0; y < grid.y; y += 2) {
        const auto place = op.place(block.index, 0, y, y + 1 < grid.y);
        for (int64_t x = t; x < grid.x; x += kThreads) {
          f(place, int(x), (block.index * grid.y + y) * grid.x + x, y + 1 < grid.y);
        }
      }
    });
  }
  template <class Block>
  OTFUSE_HD void copy_in(Block& block, const FieldSource<real_t>& from,
                         real_t* to) const {
    each_value(block, from, [&](const auto& place, int x, int64_t i, bool second) {
      const Complex<real_t> v = from.enter(place, x);
      to[i] = v.re;
      if (second) to[i + arrays.grid.x] = v.im;
    });
  }
  template <class Block>
  OTFUSE_HD void copy_out(Block& block, const FieldSink<real_t>& to,
                          const real_t* from) const {
    each_value(block, to, [&](const auto& place, int x, int64_t i, bool second) {
      to.leave(place, x, {from[i], second ? from[i + arrays.grid.x] : real_t(0)});
    });
  }
};

template <class real_t, class Launch>
void fft_convolve_tile(const FftConvolveParams<real_t>& p, const Tables& tables,
                       const Launch& launch) {
  const TileConvolve<real_t> body{
      {p.grid, tables}, {p.image, p.grid},
      {p.out, p.grid},  reinterpret_cast<const Pair<real_t>*>(p.otf),
      p.kernel,         otf_size(p.grid) / 2,
      p.adjoint};
  launch(body, p.batch, Tile<real_t>::bytes(p.grid));
}

template <class real_t, class Launch>
void richardson_lucy_tile(const RichardsonLucyParams<real_t>& p, const Tables& tables,
                          void* workspace, const Launch& launch) {
  const LoopMemory<real_t> m(p, workspace, 0);
  const auto* const otf = reinterpret_cast<const Pair<real_t>*>(p.otf);
  const TileLoop<real_t> body{
      {p.grid, tables},
      m.arrays,
      ratio_of<true>(p),
      p.divergence != nullptr || p.background_map,
      {p.estimate, p.grid},
      {p.previous ? p.previous : p.estimate, p.grid},
      {p.out, p.grid},
      {p.out_previous, p.grid},
      otf,
      p.otf_back ? reinterpret_cast<const Pair<real_t>*>(p.otf_back) : otf,
      p.kernel,
      otf_size(p.grid) / 2,
      p.n_iters,
      p.first_iteration,
      p.divergence};
  launch(body, p.batch, Tile<real_t>::bytes(p.grid));
}

}  // namespace otfuse::cuda
