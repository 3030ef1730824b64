// SPDX-License-Identifier: BSD-3-Clause
// Natural logarithm of positive, normal lanes: x = 2^e m with m in [1/sqrt 2, sqrt 2),
// and
//   log m = 2 (s + s^3/3 + s^5/5 + ...),  s = (m - 1) / (m + 1),  |s| < 0.172
// cut where the next term falls below the rounding of the type.
#pragma once

#include <cstdint>

#include "cpu/simd.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class real_t>
struct LogBits;

template <>
struct LogBits<float> {
  using Word = int32_t;
  static constexpr int kMantissa = 23, kTerms = 5;
  static constexpr Word kHalfRoot = 0x3f3504f3;  // 1/sqrt 2
};

template <>
struct LogBits<double> {
  using Word = int64_t;
  static constexpr int kMantissa = 52, kTerms = 11;
  static constexpr Word kHalfRoot = 0x3fe6a09e667f3bcd;
};

template <class real_t>
OTFUSE_HD Lanes<real_t> vector_log(const Lanes<real_t>& x) {
  using Bits = LogBits<real_t>;
  typedef typename Bits::Word Words __attribute__((vector_size(kVectorBytes)));
  const Words bits = __builtin_bit_cast(Words, x);
  const Words exponent = (bits - Bits::kHalfRoot) >> Bits::kMantissa;
  const Words scaled = bits - (exponent << Bits::kMantissa);
  const Lanes<real_t> m = __builtin_bit_cast(Lanes<real_t>, scaled);
  const Lanes<real_t> s = (m - 1) / (m + 1), square = s * s;
  Lanes<real_t> series = Lanes<real_t>{} + real_t(1) / (2 * Bits::kTerms + 1);
  unroll<Bits::kTerms>([&](auto i) OTFUSE_LAMBDA {
    series = series * square + real_t(1) / (2 * (Bits::kTerms - 1 - i) + 1);
  });
  const auto e = __builtin_convertvector(exponent, Lanes<real_t>);
  return e * real_t(0.69314718055994530942) + 2 * s * series;
}

OTFUSE_END_ISA_NAMESPACE
