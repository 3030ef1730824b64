// SPDX-License-Identifier: BSD-3-Clause
// Activations of the networks, for scalars or lanes.
#pragma once

#include <cstdint>

#include "core/pointwise.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class T>
OTFUSE_HD T relu(const T& t) {
  return t < 0 ? T{} : t;  // so that NaN stays NaN
}

// Lowest power first.
template <class real_t, class T, int N>
OTFUSE_HD T polynomial(const real_t (&coefficients)[N], const T& x) {
  T sum = T{} + coefficients[N - 1];
  OTFUSE_UNROLLED
  for (int i = N - 2; i >= 0; --i) sum = sum * x + coefficients[i];
  return sum;
}

// Interpolation at Chebyshev points: 2^f for |f| <= 1/2 and log(1 + u) / u for 0 <= u <=
// 1, to 2e-9 and 3e-8 in float32, to 3e-18 and 1e-17 in float64. To add 1.5 2^m, m the
// bits of the mantissa, rounds a small number and leaves it in the low bits.
template <class real_t>
struct SoftplusTable;

template <>
struct SoftplusTable<float> {
  static constexpr int kMantissa = 23;
  static constexpr float kRound = 12582912, kLowest = -126;
  template <class T>
  OTFUSE_HD static T exp2(const T& x) {
    constexpr float c[] = {1.0f,           0.6931472067f,   0.2402265092f,
                           0.05550327227f, 0.009618056679f, 0.001340042818f,
                           0.000154614447f};
    return polynomial<float>(c, x);
  }
  template <class T>
  OTFUSE_HD static T log1p_over(const T& x) {
    constexpr float c[] = {0.9999999659f,  -0.4999944498f,  0.3331812171f,
                           -0.2483539899f, 0.1907688074f,   -0.1360224762f,
                           0.07751608674f, -0.02907406468f, 0.005126102141f};
    return polynomial<float>(c, x);
  }
};

template <>
struct SoftplusTable<double> {
  static constexpr int kMantissa = 52;
  static constexpr double kRound = 6755399441055744, kLowest = -1022;
  template <class T>
  OTFUSE_HD static T exp2(const T& x) {
    constexpr double c[] = {
        0.999999999999999997,   0.693147180559945309,   0.240226506959101596,
        0.055504108664821627,   0.00961812910758725667, 0.00133335581464064707,
        1.54035304637243542e-4, 1.52527338415567726e-5, 1.32154325359123762e-6,
        1.01780570877339411e-7, 7.07419429728852101e-9, 4.45581790833606449e-10};
    return polynomial<double>(c, x);
  }
  template <class T>
  OTFUSE_HD static T log1p_over(const T& x) {
    constexpr double c[] = {
        0.99999999999999999,    -0.49999999999999079,    0.333333333331975252,
        -0.249999999920095234,  0.199999997498565228,    -0.166666618482485386,
        0.142856519752759262,   -0.124994270635143811,   0.111072115852995379,
        -0.0997976809658656833, 0.0900909581519863245,   -0.0807095457843020583,
        0.0701529623652647141,  -0.0571897853419390586,  0.0419257098539041573,
        -0.0263987794807432172, 0.0135987780906172537,   -0.00542173399100160966,
        1.55352440343343336e-3, -2.82742113937410716e-4, 2.44379739485809471e-5};
    return polynomial<double>(c, x);
  }
};

// 2^y = 2^n 2^f, for exponents n that the type has. Words: integers of the width of
// real_t, as many as T has numbers.
template <class real_t, class Words, class T>
OTFUSE_HD T power_of_two(const T& y) {
  using Table = SoftplusTable<real_t>;
  const T rounded = y + Table::kRound;
  const T power = Table::exp2(T(y - (rounded - Table::kRound)));
  const Words shift = __builtin_bit_cast(Words, rounded) << Table::kMantissa;
  return __builtin_bit_cast(T, Words(__builtin_bit_cast(Words, power) + shift));
}

// log(1 + e^t) = max(t, 0) + log(1 + 2^y), y = -|t| / log 2.
template <class real_t, class Words, class T>
OTFUSE_HD T softplus(const T& t) {
  using Table = SoftplusTable<real_t>;
  const T magnitude = t < 0 ? T(-t) : t;
  const T y =
      larger(T(magnitude * real_t(-1.44269504088896340736)), T(T{} + Table::kLowest));
  const T u = power_of_two<real_t, Words>(y);
  return relu(t) + u * Table::log1p_over(u);
}

OTFUSE_END_ISA_NAMESPACE
