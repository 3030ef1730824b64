// SPDX-License-Identifier: BSD-3-Clause
// The operations of cuda/row_ops.hpp on arrays that are already in space, (item, nz, ny,
// nx) on the grid: what is left to do beside torch.fft, and copies in and out of the
// loop.
#pragma once

#include "cuda/rows.hpp"

namespace otfuse::cuda {

template <class real_t, class Op, RowMode kMode>
struct PointPass {
  static constexpr int kThreads = 256;
  static constexpr int kBlocksPerMultiprocessor = 4;
  static constexpr int kLines = 8;  // pairs of rows of a block

  Op op;
  Extents grid;
  int64_t planes, rows;  // of an item that are served
  real_t* values;
  double* partial;  // (item, groups): what Op adds up; none: not wanted

  OTFUSE_HD int64_t pairs() const { return planes * ((rows + 1) / 2); }
  OTFUSE_HD int64_t groups() const { return (pairs() + kLines - 1) / kLines; }
  int64_t blocks(int64_t batch) const { return groups() * batch; }
  int64_t shared_bytes() const { return (kThreads + kSumGroups) * sizeof(double); }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const int64_t item = block.index / groups(), group = block.index % groups();
    auto* const sums = reinterpret_cast<double*>(block.shared());
    block.phase([&](int t) {
      double sum = 0;
      for (int64_t pair = group * kLines; pair < (group + 1) * kLines; ++pair) {
        if (pair < pairs()) serve(t, item, pair, sum);
      }
      if constexpr (kMode == RowMode::kTurn) {
        if (Op::kAddsUp && partial != nullptr) sums[t] = sum;
      }
    });
    if constexpr (kMode == RowMode::kTurn) {
      if (Op::kAddsUp && partial != nullptr) {
        add_up<kThreads>(block, sums, partial + block.index);
      }
    }
  }

 private:
  OTFUSE_HD void serve(int t, int64_t item, int64_t pair, double& sum) const {
    const int64_t in_plane = (rows + 1) / 2;
    const int64_t z = pair / in_plane, y = 2 * (pair % in_plane);
    const bool second = y + 1 < rows;
    const auto place = op.place(item, z, y, second);
    real_t* const row = values + ((item * grid.z + z) * grid.y + y) * grid.x;
    for (int64_t x = t; x < grid.x; x += kThreads) {
      Complex<real_t> v{0, 0};
      if constexpr (kMode != RowMode::kEnter) {
        v = {row[x], second ? row[grid.x + x] : real_t(0)};
      }
      if constexpr (kMode == RowMode::kEnter) v = op.enter(place, x);
      if constexpr (kMode == RowMode::kTurn) {
        v = op.turn(place, x, v, op.fetch(place, x), sum);
      }
      if constexpr (kMode == RowMode::kLeave) {
        op.leave(place, x, v);
      } else {
        row[x] = v.re;
        if (second) row[grid.x + x] = v.im;
      }
    }
  }
};

// Sums of the blocks of each item to result[item * stride].
struct SumPass {
  static constexpr int kThreads = 256;
  static constexpr int kBlocksPerMultiprocessor = 4;

  const double* partial;  // (item, groups)
  int64_t groups;
  double* result;
  int64_t stride;

  static int64_t shared_bytes() { return (kThreads + kSumGroups) * sizeof(double); }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    auto* const sums = reinterpret_cast<double*>(block.shared());
    block.phase([&](int t) {
      double sum = 0;
      for (int64_t i = t; i < groups; i += kThreads)
        sum += partial[block.index * groups + i];
      sums[t] = sum;
    });
    add_up<kThreads>(block, sums, result + block.index * stride);
  }
};

}  // namespace otfuse::cuda
