// SPDX-License-Identifier: BSD-3-Clause
// The arrays of the Richardson-Lucy loop, cut from one piece of memory; mirrors
// cpu/rl_memory.hpp.
#pragma once

#include <algorithm>
#include <type_traits>

#include "cuda/engine.hpp"
#include "cuda/rl_steps.hpp"

namespace otfuse::cuda {

template <class real_t>
bool accelerated(const RichardsonLucyParams<real_t>& p) {
  return p.acceleration != Acceleration::kNone;
}

// Whether an update needs the correction as an array in space, and cannot be one
// operation between the frequencies.
template <class real_t>
bool updates_in_space(const RichardsonLucyParams<real_t>& p) {
  return p.acceleration == Acceleration::kBiggs || p.tv > 0 ||
         (p.otf_back != nullptr && p.weighted);
}

template <class real_t>
struct LoopMemory {
  double *partial, *sums;                // of blocks; of "biggs", (batch, 2)
  real_t *estimate, *previous, *weight;  // each (batch, nz, ny, nx); the last four
  real_t *change, *values;               // may be none
  void* spectrum;

  // `stored`: bytes of a complex value of the spectra; 0: without room for them.
  static int64_t bytes(const RichardsonLucyParams<real_t>& p, int64_t stored) {
    LoopMemory m;
    return m.place(p, 0) + p.batch * otf_size(p.grid) / 2 * stored;
  }

  LoopMemory(const RichardsonLucyParams<real_t>& p, void* memory) {
    spectrum = reinterpret_cast<void*>(place(p, uintptr_t(memory)));
  }

  // What iteration i finds, the last one's results being those of iteration n_iters:
  // where there are two estimates the next one comes in the place of the one before.
  LoopArrays<real_t> arrays(const RichardsonLucyParams<real_t>& p, int64_t i) const {
    const bool swapped = previous != nullptr && i % 2 != 0;
    return {p.grid,
            swapped ? previous : estimate,
            swapped ? estimate : previous,
            p.otf_back == nullptr ? weight : nullptr,
            p.floor,
            p.otf_back != nullptr};
  }

 private:
  LoopMemory() = default;

  // Gives where the spectra begin.
  uintptr_t place(const RichardsonLucyParams<real_t>& p, uintptr_t memory) {
    const auto take = [&](auto*& array, bool wanted, int64_t count) {
      using T = std::remove_reference_t<decltype(*array)>;
      constexpr uintptr_t kAligned = 16;
      array = wanted ? reinterpret_cast<T*>(memory) : nullptr;
      if (wanted) {
        memory =
            (memory + uintptr_t(count) * sizeof(T) + kAligned - 1) / kAligned * kAligned;
      }
    };
    const int64_t whole = p.batch * p.grid.count();
    const bool biggs = p.acceleration == Acceleration::kBiggs;
    const int64_t pairs = p.grid.z * ((p.grid.y + 1) / 2);  // a sum each at the most
    const int64_t groups = VoxelPass<AdvanceFormula<real_t>>::groups(p.grid.count());
    take(partial, true, p.batch * std::max(pairs, biggs ? 2 * groups : 0));
    take(sums, biggs, 2 * p.batch);
    take(estimate, true, whole);
    take(previous, accelerated(p) || p.tv > 0, whole);
    take(weight, p.weighted, whole);
    take(change, biggs, whole);
    take(values, accelerated(p) || updates_in_space(p), whole);
    if (values == nullptr) values = weight;  // until there is one
    return memory;
  }
};

}  // namespace otfuse::cuda
