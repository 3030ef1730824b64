// SPDX-License-Identifier: BSD-3-Clause
// A convolution, or all iterations of Richardson-Lucy, of a flat image in one block; see
// cuda/tile.hpp. Both are one kernel, so that their stages are compiled once.
#pragma once

#include <type_traits>

#include "cuda/rl_memory.hpp"
#include "cuda/tile.hpp"

namespace otfuse::cuda {

template <class real_t>
struct TileLoop {
  static constexpr int kThreads = Tile<real_t>::kThreads;
  static constexpr int kBlocksPerMultiprocessor = Tile<real_t>::kBlocksPerMultiprocessor;

  Tile<real_t> tile;
  FieldSource<real_t> start;  // the image, or the first point
  const Pair<real_t>*otf, *otf_back;
  KernelIndex kernel;
  int64_t otf_stride;
  bool convolves, adjoint;  // a convolution's; the second is not looked at in a loop
  FieldSink<real_t> out;
  LoopArrays<real_t> even;  // what iterations 0, 2, .. find
  RatioOp<real_t> ratio;
  int64_t n_iters, first_iteration;
  double* divergence;  // (batch, n_iters); none: not wanted

  // Half an iteration each: odd ones make the ratio, even ones the next estimate.
  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const auto work = tile.work_of(block.shared(), block.index);
    const int64_t nth = kernel.of(block.index) * otf_stride;
    block.phase([&](int t) OTFUSE_PHASE { tile.enter(t, work, start); });
    OTFUSE_ROLLED
    for (int64_t half = 1; half <= (convolves ? 1 : 2 * n_iters); ++half) {
      const bool odd = half % 2 != 0;
      tile.forward_rows(block, work);
      tile.convolve(block, work, (odd ? otf : otf_back) + nth,
                    convolves ? adjoint : !odd);
      tile.inverse_rows(block, work);
      if (convolves) {
        block.phase([&](int t) OTFUSE_PHASE { tile.leave(t, work, out); });
        continue;
      }
      if (!odd) {
        const UpdateOp<real_t> update = update_of(half / 2 - 1);
        block.phase([&](int t) OTFUSE_PHASE { tile.turn(t, work, update); });
        continue;
      }
      block.phase([&](int t) OTFUSE_PHASE { tile.turn(t, work, ratio); });
      if (divergence != nullptr) {
        double* const of_item = divergence + block.index * n_iters;
        add_up<kThreads>(block, work.sums, of_item + half / 2);
      }
    }
  }

 private:
  OTFUSE_HD UpdateOp<real_t> update_of(int64_t i) const {
    UpdateOp<real_t> op{even, 0, 0};
    if (even.previous == nullptr) return op;
    op.step = momentum_step<real_t>(first_iteration + i + 1);
    op.next_step = momentum_step<real_t>(first_iteration + i + 2);
    if (i % 2 != 0) {
      op.arrays.estimate = even.previous;
      op.arrays.previous = even.estimate;
    }
    return op;
  }
};

template <class real_t, class Launch>
void fft_convolve_tile(const FftConvolveParams<real_t>& p, const Tables& tables,
                       const Launch& launch) {
  const auto* const otf = reinterpret_cast<const Pair<real_t>*>(p.otf);
  const RichardsonLucyParams<real_t> none{};
  const TileLoop<real_t> body{{p.grid, tables},
                              {p.image, p.grid},
                              otf,
                              otf,
                              p.kernel,
                              otf_size(p.grid) / 2,
                              true,
                              p.adjoint,
                              {p.out, p.grid},
                              {},
                              RatioOp<real_t>(none),
                              0,
                              0,
                              nullptr};
  launch(body, p.batch, Tile<real_t>::bytes(p.grid));
}

// Of those that need no arrays in space between two convolutions.
template <class real_t, class Step, class Launch>
void richardson_lucy_tile(const RichardsonLucyParams<real_t>& p, const Tables& tables,
                          void* workspace, const Step& step, const Launch& launch) {
  const LoopMemory<real_t> m(p, workspace);
  const auto whole = [&](auto* data) {
    const Window window{{0, 0, 0}, p.grid};
    return Field<std::remove_pointer_t<decltype(data)>>{
        data, {p.grid.count(), p.grid.x, 1}, p.grid.count(), window};
  };
  const real_t* const values = m.values;
  step(LoopStep::kLoad, 0);
  if (p.weighted) {
    step(LoopStep::kObserve, 0);
    fft_convolve_tile<real_t>({p.grid, p.batch, whole(values), p.otf, p.kernel,
                               whole(m.values), true, p.threads},
                              tables, launch);
    step(LoopStep::kWeigh, 0);
  }
  if (accelerated(p)) step(LoopStep::kStart, 0);
  const auto* const otf = reinterpret_cast<const Pair<real_t>*>(p.otf);
  const real_t* const first = accelerated(p) ? m.values : m.estimate;
  const TileLoop<real_t> body{
      {p.grid, tables},
      {whole(first), p.grid},
      otf,
      p.otf_back ? reinterpret_cast<const Pair<real_t>*>(p.otf_back) : otf,
      p.kernel,
      otf_size(p.grid) / 2,
      false,
      false,
      {},
      m.arrays(p, 0),
      RatioOp<real_t>(p),
      p.n_iters,
      p.first_iteration,
      p.divergence};
  launch(body, p.batch, Tile<real_t>::bytes(p.grid));
  step(LoopStep::kStore, 0);
}

}  // namespace otfuse::cuda
