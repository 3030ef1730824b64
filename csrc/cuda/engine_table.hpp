// SPDX-License-Identifier: BSD-3-Clause
// The parts of engine.hpp, filled for one way of launching: make(queue) gives what
// launches there.
#pragma once

#include "cuda/engine.hpp"
#include "cuda/fft_convolve.hpp"
#include "cuda/pointwise.hpp"
#include "cuda/richardson_lucy.hpp"
#include "cuda/tile_loop.hpp"

namespace otfuse::cuda {

// Of a loop, one of its steps on arrays in space (richardson_lucy_step of PointEngine).
template <class real_t>
using StepInSpace = void (*)(const RichardsonLucyParams<real_t>&, LoopStep, int64_t i,
                             real_t* values, void* workspace, const Queue&);

template <class real_t, auto make>
void step_in_space(const RichardsonLucyParams<real_t>& p, LoopStep step, int64_t i,
                   real_t* values, void* memory, const Queue& q) {
  richardson_lucy_step(p, step, i, values, memory, make(q));
}

// It with everything but the step: step(LoopStep, i).
template <class real_t, StepInSpace<real_t> in_space>
struct BoundStep {
  const RichardsonLucyParams<real_t>& p;
  void* memory;
  const Queue& q;
  void operator()(LoopStep step, int64_t i) const {
    in_space(p, step, i, nullptr, memory, q);
  }
};

template <class real_t, auto make, StepInSpace<real_t> in_space>
constexpr PencilEngine<real_t> pencil_engine() {
  return {
      [](const OtfParams<real_t>& p, const Tables& t, const Queue& q) {
        make_otf(p, t, make(q));
      },
      &fft_convolve_bytes<real_t>,
      [](const FftConvolveParams<real_t>& p, const Tables& t, void* memory,
         const Queue& q) { fft_convolve(p, t, memory, make(q)); },
      [](const RichardsonLucyParams<real_t>& p, const Tables& t, void* memory,
         const Queue& q) {
        const BoundStep<real_t, in_space> step{p, memory, q};
        richardson_lucy<Pair<real_t>>(p, t, memory, step, make(q));
      },
  };
}

template <class real_t, auto make, StepInSpace<real_t> in_space>
constexpr MixedEngine<real_t> mixed_engine() {
  if constexpr (sizeof(real_t) == sizeof(float)) {
    return {[](const RichardsonLucyParams<real_t>& p, const Tables& t, void* memory,
               const Queue& q) {
      const BoundStep<real_t, in_space> step{p, memory, q};
      richardson_lucy<HalfPair>(p, t, memory, step, make(q));
    }};
  } else {
    return {nullptr};
  }
}

template <class real_t, auto make, StepInSpace<real_t> in_space>
constexpr TileEngine<real_t> tile_engine() {
  return {
      &Tile<real_t>::bytes,
      [](const FftConvolveParams<real_t>& p, const Tables& t, const Queue& q) {
        fft_convolve_tile(p, t, make(q));
      },
      [](const RichardsonLucyParams<real_t>& p, const Tables& t, void* memory,
         const Queue& q) {
        const BoundStep<real_t, in_space> step{p, memory, q};
        richardson_lucy_tile(p, t, memory, step, make(q));
      },
  };
}

template <class real_t, auto make>
constexpr PointEngine<real_t> point_engine() {
  return {
      &LoopMemory<real_t>::bytes,
      &step_in_space<real_t, make>,
      [](const RlRatioParams<real_t>& p, const Queue& q) { rl_ratio(p, make(q)); },
      [](const RlUpdateParams<real_t>& p, const Queue& q) { rl_update(p, make(q)); },
  };
}

template <class real_t, auto make>
constexpr Engine<real_t> make_engine() {
  constexpr auto step = &step_in_space<real_t, make>;
  return {pencil_engine<real_t, make, step>(), mixed_engine<real_t, make, step>(),
          tile_engine<real_t, make, step>(), point_engine<real_t, make>()};
}

}  // namespace otfuse::cuda
