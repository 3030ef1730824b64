// SPDX-License-Identifier: BSD-3-Clause
// The table of engine.hpp, filled for one way of launching.
#pragma once

#include "cuda/engine.hpp"
#include "cuda/fft_convolve.hpp"
#include "cuda/pointwise.hpp"
#include "cuda/richardson_lucy.hpp"
#include "cuda/tile_loop.hpp"

namespace otfuse::cuda {

// The loop with spectra in half precision; none for double.
template <class real_t, auto make>
constexpr auto mixed_loop() -> decltype(Engine<real_t>::richardson_lucy_mixed) {
  if constexpr (sizeof(real_t) == sizeof(float)) {
    return [](const RichardsonLucyParams<real_t>& p, const Tables& t, void* memory,
              const Queue& q) { richardson_lucy<HalfPair>(p, t, memory, make(q)); };
  } else {
    return nullptr;
  }
}

// make(queue) gives what launches there.
template <class real_t, auto make>
constexpr Engine<real_t> make_engine() {
  return {
      &line_table<real_t>,
      [](const OtfParams<real_t>& p, const Tables& t, const Queue& q) {
        make_otf(p, t, make(q));
      },
      &fft_convolve_bytes<real_t>,
      [](const FftConvolveParams<real_t>& p, const Tables& t, void* memory,
         const Queue& q) { fft_convolve(p, t, memory, make(q)); },
      &Tile<real_t>::bytes,
      [](const FftConvolveParams<real_t>& p, const Tables& t, const Queue& q) {
        fft_convolve_tile(p, t, make(q));
      },
      &LoopMemory<real_t>::bytes,
      [](const RichardsonLucyParams<real_t>& p, const Tables& t, void* memory,
         const Queue& q) { richardson_lucy<Pair<real_t>>(p, t, memory, make(q)); },
      mixed_loop<real_t, make>(),
      [](const RichardsonLucyParams<real_t>& p, const Tables& t, void* memory,
         const Queue& q) { richardson_lucy_tile(p, t, memory, make(q)); },
      [](const RichardsonLucyParams<real_t>& p, LoopStep step, int64_t i, real_t* values,
         void* memory,
         const Queue& q) { richardson_lucy_step(p, step, i, values, memory, make(q)); },
      [](const RlRatioParams<real_t>& p, const Queue& q) { rl_ratio(p, make(q)); },
      [](const RlUpdateParams<real_t>& p, const Queue& q) { rl_update(p, make(q)); },
  };
}

}  // namespace otfuse::cuda
