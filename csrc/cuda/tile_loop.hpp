// SPDX-License-Identifier: BSD-3-Clause
// The whole Richardson-Lucy loop of a flat image in one block; see cuda/tile.hpp.
#pragma once

#include "cuda/richardson_lucy.hpp"
#include "cuda/tile.hpp"

namespace otfuse::cuda {

template <class real_t, bool kFull>
struct TileLoop {
  static constexpr int kThreads = Tile<real_t>::kThreads;
  static constexpr int kBlocksPerMultiprocessor = Tile<real_t>::kBlocksPerMultiprocessor;

  Tile<real_t> tile;
  LoopArrays<real_t> arrays;
  RatioOp<real_t, kFull> ratio;
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
    if (arrays.weight != nullptr) {
      tile.enter(block, work, ObservedSource<real_t>{ratio.image});
      tile.convolve(block, work, otf + nth, true);
      tile.leave(block, work, WeightSink<real_t>{arrays});
    }
    tile.enter(block, work, FirstPoint<real_t>{arrays, step(0)});
    for (int64_t i = 0; i < n_iters; ++i) {
      tile.convolve(block, work, otf + nth, false);
      tile.turn(block, work, ratio);
      if constexpr (kFull) {
        if (divergence != nullptr) {
          add_up<kThreads>(block, work.sums, divergence + block.index * n_iters + i);
        }
      }
      tile.convolve(block, work, otf_back + nth, true);
      const UpdateOp<real_t> update{arrays, step(i), step(i + 1)};
      if (i + 1 < n_iters) {
        tile.turn(block, work, update);
      } else {
        tile.leave(block, work, update);
      }
    }
    copy_out(block, out, arrays.estimate);
    if (out_previous.field) copy_out(block, out_previous, arrays.previous);
  }

 private:
  OTFUSE_HD real_t step(int64_t i) const {
    return arrays.previous == nullptr ? real_t(0)
                                      : momentum_step<real_t>(first_iteration + i + 1);
  }

  // f(place of the pair of rows, x, index of the first row's value)
  template <class Block, class Op, class F>
  OTFUSE_HD void each_value(Block& block, const Op& op, F f) const {
    const Extents& grid = arrays.grid;
    block.phase([&](int t) {
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
  const auto run = [&](auto full) {
    constexpr bool kFull = decltype(full)::value;
    const TileLoop<real_t, kFull> body{
        {p.grid, tables},
        m.arrays,
        ratio_of<kFull>(p),
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
  };
  p.divergence != nullptr || p.background_map ? run(std::true_type{})
                                              : run(std::false_type{});
}

}  // namespace otfuse::cuda
