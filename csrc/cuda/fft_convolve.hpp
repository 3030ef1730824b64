// SPDX-License-Identifier: BSD-3-Clause
// Convolution on a periodic grid in pencil passes, and the making of the OTF; mirrors
// cpu/fft_convolve.hpp. In float32 a flat image moves 24 bytes a voxel, a volume 40.
#pragma once

#include "cuda/layout.hpp"

namespace otfuse::cuda {

template <class real_t>
int64_t fft_convolve_bytes(const Extents& grid, int64_t batch) {
  return batch * otf_size(grid) * int64_t(sizeof(real_t));
}

template <class real_t, class Launch>
void fft_convolve(const FftConvolveParams<real_t>& p, const Tables& tables,
                  void* workspace, const Launch& launch) {
  const Layout<real_t> l(p.grid, tables);
  const Passes<real_t, Launch> passes(l, p.batch, static_cast<Pair<real_t>*>(workspace),
                                      launch);
  const Extents in = reach(p.image.window, p.grid), out = reach(p.out.window, p.grid);
  passes.template rows<RowMode::kEnter>(FieldSource<real_t>{p.image, p.grid}, in);
  passes.convolve(reinterpret_cast<const Pair<real_t>*>(p.otf), p.kernel, p.adjoint, in,
                  out);
  passes.template rows<RowMode::kLeave>(FieldSink<real_t>{p.out, p.grid}, out);
}

// The scale undoes the unnormalised transforms and the factors 2 of image and kernel
// (cuda/rows.hpp).
template <class real_t, class Launch>
void make_otf(const OtfParams<real_t>& p, const Tables& tables, const Launch& launch) {
  const Layout<real_t> l(p.grid, tables);
  const Passes<real_t, Launch> passes(l, p.kernels,
                                      reinterpret_cast<Pair<real_t>*>(p.otf), launch);
  const Extents in = reach(p.kernel.window, p.grid);
  passes.template rows<RowMode::kEnter>(FieldSource<real_t>{p.kernel, p.grid}, in);
  passes.forward(in, real_t(1.0 / (4.0 * double(p.grid.count()))));
}

}  // namespace otfuse::cuda
