// SPDX-License-Identifier: BSD-3-Clause
// How a job lies in device memory, and the launches of its passes; mirrors
// cpu/layout.hpp.
#pragma once

#include "cuda/columns.hpp"
#include "cuda/engine.hpp"
#include "cuda/points.hpp"
#include "cuda/rows.hpp"

namespace otfuse::cuda {

template <class real_t>
struct Layout {
  Extents grid;
  LinePlan<real_t> z, y, x;
  int64_t pitch, kx_count;
  bool flat;  // one plane: the OTF goes with the columns along y

  Layout(const Extents& grid, const Tables& tables)
      : grid(grid),
        z(grid.z, tables.z),
        y(grid.y, tables.y),
        x(grid.x, tables.x),
        pitch(spectrum_pitch(grid.x)),
        kx_count(grid.x / 2 + 1),
        flat(grid.z == 1) {}

  int64_t size() const { return grid.z * grid.y * pitch; }  // of a spectrum, complex
};

// The passes over a batch of spectra. In half precision forward transforms are means
// instead of sums, and what is as large as the estimate is divided by its item's level: a
// millionth of its mean, which leaves the mean at kHalfMean.
template <class real_t, class Launch, class Stored = Pair<real_t>>
class Passes {
 public:
  Passes(const Layout<real_t>& l, int64_t batch, Stored* spectrum, const Launch& launch,
         const real_t* level = nullptr)
      : l(l), batch_(batch), spectrum_(spectrum), launch_(launch), level_(level) {}

  const Layout<real_t>& l;

  // Rows of the planes and rows that `reached` counts. The last turn leaves no spectra.
  template <RowMode kMode, class Op>
  void rows(const Op& op, const Extents& reached, double* partial = nullptr,
            bool last = false) const {
    const auto pass = row_pass<kMode>(op, reached, partial, last);
    launch_(pass, pass.blocks(batch_), pass.shared_bytes());
  }
  // Partial sums that such a pass leaves per item.
  int64_t row_groups(const Extents& reached) const {
    return ceil_div(reached.z * ceil_div(reached.y, 2), pair_lines());
  }

  // Only the rows and planes `in` hold something, only `out` are wanted.
  void convolve(const Pair<real_t>* otf, const KernelIndex& kernel, bool adjoint,
                const Extents& in, const Extents& out) const {
    if (!l.flat && l.y.n > 1) {
      auto first = along_y(in.z, in.y, l.y.n);
      if (kHalf) first.scale = real_t(1.0 / double(l.y.n));
      columns(ColumnMode::kForward, first);
    }
    auto pass = l.flat ? along_y(1, in.y, out.y) : along_z(in.z, out.z);
    // The OTF has the whole scale in it, of which the passes before have done their part.
    if (kHalf) pass.scale = real_t(l.flat ? l.x.n : double(l.x.n) * l.y.n);
    pass.otf = otf;
    pass.kernel = kernel;
    pass.adjoint = adjoint;
    columns(ColumnMode::kConvolve, pass);
    if (!l.flat && l.y.n > 1) columns(ColumnMode::kInverse, along_y(out.z, l.y.n, out.y));
  }

  // The rest of a forward transform, scaled.
  void forward(const Extents& in, real_t scale) const {
    auto first = along_y(l.flat ? 1 : in.z, in.y, l.y.n);
    auto second = along_z(in.z, l.z.n);
    (l.flat ? first : second).scale = scale;
    if (l.flat || l.y.n > 1) columns(ColumnMode::kForward, first);
    if (!l.flat) columns(ColumnMode::kForward, second);
  }

  // The first part of an inverse transform; only the planes and rows `out` are wanted.
  void inverse(const Extents& out) const {
    if (!l.flat) columns(ColumnMode::kInverse, along_z(l.z.n, out.z));
    if (l.flat || l.y.n > 1) {
      columns(ColumnMode::kInverse, along_y(l.flat ? 1 : out.z, l.y.n, out.y));
    }
  }

 private:
  static constexpr bool kHalf = Packing<Stored>::kHalf;
  // Of 65504, and above 6e-8: brighter parts of an image are many times its mean.
  static constexpr double kHalfMean = 32;

  template <RowMode kMode, class Op>
  Gains<real_t> gains(const Op& op) const {
    Gains<real_t> g;
    if constexpr (kHalf) {
      constexpr double kLevel = 1e6;  // the mean over the level
      if constexpr (kMode != RowMode::kEnter) {
        const bool light = op.takes == Quantity::kLight;
        g.load = real_t((light ? kLevel : 1) / kHalfMean);
        g.load_level = light ? level_ : nullptr;
      }
      if constexpr (kMode != RowMode::kLeave) {
        const bool light = op.gives == Quantity::kLight;
        g.store = real_t(kHalfMean / double(l.x.n) / (light ? kLevel : 1));
        g.store_level = light ? level_ : nullptr;
      }
    }
    return g;
  }

  // What the three modes share; turned into a ColumnPass at the launch.
  struct ColumnJob {
    LinePlan<real_t> plan;
    int limit_in, limit_out;
    int64_t stride, columns, slabs, slab_stride;
    const Pair<real_t>* otf = nullptr;
    KernelIndex kernel{};
    bool adjoint = false;
    real_t scale = 1;
  };

  ColumnJob along_y(int64_t planes, int64_t in, int64_t out) const {
    return {l.y, int(in), int(out), l.pitch, l.kx_count, planes, l.grid.y * l.pitch};
  }
  ColumnJob along_z(int64_t in, int64_t out) const {
    const int64_t plane = l.grid.y * l.pitch;
    return {l.z, int(in), int(out), plane, plane, 1, 0};
  }

  void columns(ColumnMode mode, const ColumnJob& job) const {
    const int lines = lines_of_block<real_t>(job.plan.n, launch_.limits);
    const ColumnPass<real_t, Stored> pass{
        mode,        job.plan,    job.limit_in,   job.limit_out, job.stride,
        job.columns, l.pitch,     l.kx_count,     job.slabs,     job.slab_stride,
        l.size(),    lines,       Divider(lines), spectrum_,     job.otf,
        job.kernel,  job.adjoint, job.scale};
    launch_(pass, pass.blocks(batch_), pass.shared_bytes());
  }

  int pair_lines() const {
    return lines_of_block<real_t>(l.x.padding.pitch(l.x.n), launch_.limits);
  }

  template <RowMode kMode, class Op>
  RowPass<real_t, Stored, Op, kMode> row_pass(const Op& op, const Extents& reached,
                                              double* partial, bool last) const {
    const int64_t pairs = reached.z * ceil_div(reached.y, 2);
    const int lines = pair_lines();
    const int tail = int(pairs - (ceil_div(pairs, lines) - 1) * lines);
    return {l.x,
            op,
            reached.z,
            reached.y,
            l.grid.y,
            l.grid.z,
            l.pitch,
            int(l.kx_count),
            Divider(l.kx_count),
            lines,
            tail,
            Divider(lines),
            Divider(tail),
            l.x.padding.pitch(l.x.n),
            last,
            spectrum_,
            gains<kMode>(op),
            partial};
  }

  int64_t batch_;
  Stored* spectrum_;
  const Launch& launch_;
  const real_t* level_;  // (batch), in half precision
};

}  // namespace otfuse::cuda
