// SPDX-License-Identifier: BSD-3-Clause
// Included by engine_f32.cpp and engine_f64.cpp, which are compiled once per instruction
// set.
#pragma once

#include <type_traits>

#include "cpu/engine.hpp"
#include "cpu/pointwise.hpp"
#include "cpu/psf_terms.hpp"
#include "cpu/richardson_lucy.hpp"
#include "cpu/spectral_mix.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

void rln(const RlnParams& p);
int64_t rln_bytes(const RlnParams& p);
std::vector<RlnStrip> rln_strips(const RlnParams& p);
void rln_some_strips(const RlnParams& p, int64_t begin, int64_t end, float* memory);

template <class real_t>
int64_t otf_size(const Extents& grid) {
  return layout_of<real_t>(grid)->otf_size();
}

template <class real_t>
int64_t fast_extent(int64_t n) {
  return otfuse::next_fast_extent(n, kWide);
}

template <class real_t>
constexpr Engine<real_t> make_engine() {
  constexpr bool single = std::is_same_v<real_t, float>;
  return {Simd<real_t>::kLanes,
          otf_size<real_t>,
          make_otf<real_t>,
          fft_convolve<real_t>,
          richardson_lucy<real_t>,
          richardson_lucy_bytes<real_t>,
          psf_terms<real_t>,
          spectral_mix<real_t>,
          spectral_mix_symbol<real_t>,
          rl_ratio<real_t>,
          rl_update<real_t>,
          fast_extent<real_t>,
          single ? rln : nullptr,
          single ? rln_bytes : nullptr,
          single ? rln_strips : nullptr,
          single ? rln_some_strips : nullptr};
}

OTFUSE_END_ISA_NAMESPACE
