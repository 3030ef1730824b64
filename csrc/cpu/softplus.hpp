// SPDX-License-Identifier: BSD-3-Clause
// ln(1 + e^t) of float lanes, absolute error below 3e-7 and below 2e-7 relative for t >
// 0:
//   softplus(t) = max(t, 0) + log1p(u),  u = e^-|t| in (0, 1]
// u = 2^n 2^f with |f| <= 1/2 and a polynomial in f; log1p(u) = u p(u). Both polynomials
// are least-squares fits at Chebyshev nodes, with the relative error as the measure.
#pragma once

#include <cstdint>

#include "cpu/simd.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// 2^f on [-1/2, 1/2], and log1p(u) / u on [0, 1], from the highest power down.
inline constexpr float kExp2Series[] = {0.00132764715f, 0.00967554133f, 0.0555071327f,
                                        0.240221197f,   0.693146967f,   1.00000007f};
inline constexpr float kLog1pSeries[] = {-0.00853919845f, 0.0440895963f, -0.107681664f,
                                         0.177452381f,    -0.244954616f, 0.332754796f,
                                         -0.499974054f,   0.999999806f};

template <size_t kTerms>
OTFUSE_HD Lanes<float> horner(const float (&series)[kTerms], const Lanes<float>& x) {
  Lanes<float> sum = broadcast(series[0]);
  unroll<int(kTerms) - 1>([&](auto i) OTFUSE_LAMBDA { sum = sum * x + series[i + 1]; });
  return sum;
}

OTFUSE_HD Lanes<float> softplus(const Lanes<float>& t) {
  typedef int32_t Words __attribute__((vector_size(kVectorBytes)));
  // Beyond this e^-|t| is below the smallest normal number, and the sum is t or 0.
  constexpr float kFar = 87.0f, kLog2E = 1.44269504088896341f;
  // Adding it leaves a whole number in the low bits of the mantissa.
  constexpr float kRound = 12582912.0f;
  const Lanes<float> zero{};
  Lanes<float> size = t < 0 ? -t : t;
  size = size < kFar ? size : zero + kFar;
  const Lanes<float> power = size * -kLog2E;
  const Lanes<float> rounded = power + kRound;
  const Lanes<float> fraction = power - (rounded - kRound);
  const Words exponent = __builtin_bit_cast(Words, rounded) << 23;
  const Words bits = __builtin_bit_cast(Words, horner(kExp2Series, fraction)) + exponent;
  const Lanes<float> u = __builtin_bit_cast(Lanes<float>, bits);
  return (t < 0 ? zero : t) + u * horner(kLog1pSeries, u);
}

OTFUSE_END_ISA_NAMESPACE
