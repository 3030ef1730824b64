// SPDX-License-Identifier: BSD-3-Clause
// 1 / sqrt of lanes that are positive and normal: a guess, then Newton's steps. The guess
// is an instruction where there is one; elsewhere a shift halves the exponent, and the
// constant makes the most of the mantissa.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "cpu/simd.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class real_t>
struct RootGuess {  // good to 4 bits
  static constexpr bool kSingle = sizeof(real_t) == 4;
  static constexpr int kSteps = kSingle ? 3 : 4;
  OTFUSE_HD static Lanes<real_t> of(const Lanes<real_t>& x) {
    constexpr auto kMagic = typename LaneWords<real_t>::Word(
        kSingle ? int64_t(0x5f375a86) : int64_t(0x5fe6eb50c7b537a9));
    const Words<real_t> guess = kMagic - (__builtin_bit_cast(Words<real_t>, x) >> 1);
    return __builtin_bit_cast(Lanes<real_t>, guess);
  }
};

#if defined(__AVX512F__)
template <>
struct RootGuess<float> {  // good to 14 bits
  static constexpr int kSteps = 1;
  OTFUSE_HD static Lanes<float> of(const Lanes<float>& x) {
    return Lanes<float>(_mm512_rsqrt14_ps(__m512(x)));
  }
};
template <>
struct RootGuess<double> {
  static constexpr int kSteps = 2;
  OTFUSE_HD static Lanes<double> of(const Lanes<double>& x) {
    return Lanes<double>(_mm512_rsqrt14_pd(__m512d(x)));
  }
};
#elif defined(__SSE2__)
template <>
struct RootGuess<float> {  // good to 11 bits
  static constexpr int kSteps = 1;
  OTFUSE_HD static Lanes<float> of(const Lanes<float>& x) {
#if defined(__AVX2__)
    return Lanes<float>(_mm256_rsqrt_ps(__m256(x)));
#else
    return Lanes<float>(_mm_rsqrt_ps(__m128(x)));
#endif
  }
};
#endif

template <class real_t>
OTFUSE_HD Lanes<real_t> inverse_root(const Lanes<real_t>& x) {
  Lanes<real_t> r = RootGuess<real_t>::of(x);
  const Lanes<real_t> half = x * real_t(0.5);
  unroll<RootGuess<real_t>::kSteps>(
      [&](auto) OTFUSE_LAMBDA { r = r * (real_t(1.5) - half * r * r); });
  return r;
}

OTFUSE_END_ISA_NAMESPACE
