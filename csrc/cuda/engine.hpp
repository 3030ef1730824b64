// SPDX-License-Identifier: BSD-3-Clause
// The launchers as a table, for the device and, in tests, for the host that plays it.
// They queue work and return: nothing waits, and nothing is allocated.
#pragma once

#include <string>

#include "core/params.hpp"
#include "core/phases.hpp"
#include "cuda/line_plan.hpp"

namespace otfuse::cuda {

// Where work is queued: on a device its stream's handle; on the host the order of a
// block's threads, 0 for forward and 1 for reversed.
struct Queue {
  uintptr_t handle;
  Limits limits;
};

struct Tables {  // of line_table, in device memory
  const void *z, *y, *x;
};

enum class LoopStep { kLoad, kObserve, kWeigh, kStart, kCompare, kUpdate, kStore };

// An engine in parts, each compiled by itself.

template <class real_t>
struct PencilEngine {
  void (*make_otf)(const OtfParams<real_t>&, const Tables&, const Queue&);
  int64_t (*fft_convolve_bytes)(const Extents& grid, int64_t batch);
  void (*fft_convolve)(const FftConvolveParams<real_t>&, const Tables&, void* workspace,
                       const Queue&);
  void (*richardson_lucy)(const RichardsonLucyParams<real_t>&, const Tables&,
                          void* workspace, const Queue&);
};

template <class real_t>
struct MixedEngine {
  void (*richardson_lucy_mixed)(const RichardsonLucyParams<real_t>&, const Tables&,
                                void* workspace, const Queue&);  // none for double
};

template <class real_t>
struct TileEngine {
  int64_t (*tile_bytes)(const Extents& grid);  // shared memory; 0: no grid for a tile
  void (*fft_convolve_tile)(const FftConvolveParams<real_t>&, const Tables&,
                            const Queue&);
  void (*richardson_lucy_tile)(const RichardsonLucyParams<real_t>&, const Tables&,
                               void* workspace, const Queue&);
};

template <class real_t>
struct PointEngine {
  // stored: bytes of a complex value of the spectra; 0: without room for them
  int64_t (*richardson_lucy_bytes)(const RichardsonLucyParams<real_t>&, int64_t stored);
  void (*richardson_lucy_step)(const RichardsonLucyParams<real_t>&, LoopStep, int64_t i,
                               real_t* values, void* workspace, const Queue&);
  void (*rl_ratio)(const RlRatioParams<real_t>&, const Queue&);
  void (*rl_update)(const RlUpdateParams<real_t>&, const Queue&);
};

template <class real_t>
struct Engine : PencilEngine<real_t>,
                MixedEngine<real_t>,
                TileEngine<real_t>,
                PointEngine<real_t> {};

// Reals of one OTF on a grid.
inline int64_t otf_size(const Extents& grid) {
  return 2 * grid.z * grid.y * spectrum_pitch(grid.x);
}

}  // namespace otfuse::cuda
