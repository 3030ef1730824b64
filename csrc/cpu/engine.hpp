// SPDX-License-Identifier: BSD-3-Clause
// The launchers of one instruction set, as a table: everything above calls through it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/params.hpp"
#include "core/rln_params.hpp"

namespace otfuse {

template <class real_t>
struct Engine {
  int lanes;
  int64_t (*otf_size)(const Extents& grid);
  void (*make_otf)(const OtfParams<real_t>&);
  void (*fft_convolve)(const FftConvolveParams<real_t>&);
  bool (*richardson_lucy)(const RichardsonLucyParams<real_t>&);
  int64_t (*richardson_lucy_bytes)(const RichardsonLucyParams<real_t>&);
  void (*psf_terms)(const PsfTermsParams<real_t>&);
  void (*spectral_mix)(const SpectralMixParams<real_t>&);
  void (*spectral_mix_symbol)(const SpectralMixParams<real_t>&);
  void (*rl_ratio)(const RlRatioParams<real_t>&);
  void (*rl_update)(const RlUpdateParams<real_t>&);
  int64_t (*next_fast_extent)(int64_t n);
  void (*rln)(const RlnParams&);  // this and the next ones: none in double precision
  int64_t (*rln_bytes)(const RlnParams&);
  std::vector<RlnStrip> (*rln_strips)(const RlnParams&);
  // Some strips of one volume, those before them done with the same `memory`, of
  // rln_bytes: image and out hold the rows that rln_strips says, from the first to the
  // last.
  void (*rln_some_strips)(const RlnParams&, int64_t begin, int64_t end, float* memory);
};

// The engine in force: the best instruction set of this processor, or what OTFUSE_SIMD or
// set_simd asked for.
template <class real_t>
const Engine<real_t>& engine();

const std::string& simd_level();
std::vector<std::string> simd_levels();   // of this processor, best first
void set_simd(const std::string& level);  // throws std::invalid_argument

}  // namespace otfuse
