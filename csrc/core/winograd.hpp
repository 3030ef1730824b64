// SPDX-License-Identifier: BSD-3-Clause
// Minimal filtering of rows (Winograd 1980; Lavin and Gray 2016): T outputs of a filter
// of K taps from P = T + K - 1 products instead of T K, by evaluating at P points. The
// points are 0, pairs +-a, and infinity:
//   y = A^T [ (G w) * (B^T d) ],   A^T[i][p] = a_p^i,   G[p][j] = a_p^j / N_p,
//   B^T[p] = coefficients of M_p(x) = prod_{q != p} (x - a_q),   N_p = M_p(a_p),
// at infinity the leading coefficient. Pairs share their even and odd parts.
#pragma once

#include "core/butterfly.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// P products: 0, kPairs pairs, infinity. Small points and their inverses keep the growth
// of rounding errors low.
template <int P>
struct FilterPoints;

template <>
struct FilterPoints<6> {
  static constexpr int kPairs = 2;
  static constexpr double kPoint[kPairs] = {1, 2};
};

template <>
struct FilterPoints<8> {
  static constexpr int kPairs = 3;
  static constexpr double kPoint[kPairs] = {1, 2, 0.5};
};

// Coefficients of prod (x^2 - a^2) over the pairs but `left_out` (-1: none), by powers of
// x^2.
template <int P>
struct EvenPolynomial {
  double c[FilterPoints<P>::kPairs + 1] = {};

  constexpr explicit EvenPolynomial(int left_out) {
    c[0] = 1;
    int degree = 0;
    for (int i = 0; i < FilterPoints<P>::kPairs; ++i) {
      if (i == left_out) continue;
      const double square = FilterPoints<P>::kPoint[i] * FilterPoints<P>::kPoint[i];
      c[++degree] = 0;
      for (int k = degree; k >= 0; --k) c[k] = (k > 0 ? c[k - 1] : 0) - square * c[k];
    }
  }
};

// sum_k c[k] d[first + 2 k] over kTerms terms, the last coefficient being 1.
template <int P, int kLeftOut, int kTerms, class real_t, class T>
OTFUSE_HD T even_sum(const T* d) {
  constexpr EvenPolynomial<P> polynomial(kLeftOut);
  T sum = d[2 * (kTerms - 1)];
  unroll<kTerms - 1>([&](auto k) OTFUSE_LAMBDA {
    constexpr double c = polynomial.c[decltype(k)::value];
    if constexpr (c != 0) sum += real_t(c) * d[2 * decltype(k)::value];
  });
  return sum;
}

// B^T d in the order 0, +a, -a, +b, -b, ..., infinity.
template <int P, class real_t, class T>
OTFUSE_HD void filter_input(const T* d, T* t) {
  constexpr int kPairs = FilterPoints<P>::kPairs;
  t[0] = even_sum<P, -1, kPairs + 1, real_t>(d);
  t[P - 1] = even_sum<P, -1, kPairs + 1, real_t>(d + 1);
  unroll<kPairs>([&](auto i) OTFUSE_LAMBDA {
    constexpr int pair = decltype(i)::value;
    const T even = even_sum<P, pair, kPairs, real_t>(d + 2);
    const T odd = even_sum<P, pair, kPairs, real_t>(d + 1);
    const real_t a = real_t(FilterPoints<P>::kPoint[pair]);
    t[1 + 2 * pair] = even + a * odd;
    t[2 + 2 * pair] = even - a * odd;
  });
}

// A^T m: kOutputs rows from P sums.
template <int P, int kOutputs, class real_t, class T>
OTFUSE_HD void filter_output(const T* m, T* y) {
  constexpr int kPairs = FilterPoints<P>::kPairs;
  T power[2 * kPairs];  // sum and difference of each pair
  unroll<kPairs>([&](auto i) OTFUSE_LAMBDA {
    constexpr int pair = decltype(i)::value;
    power[2 * pair] = m[1 + 2 * pair] + m[2 + 2 * pair];
    power[2 * pair + 1] = m[1 + 2 * pair] - m[2 + 2 * pair];
  });
  unroll<kOutputs>([&](auto row) OTFUSE_LAMBDA {
    constexpr int r = decltype(row)::value;
    T sum = power[r % 2];  // the first point is 1
    unroll<kPairs - 1>([&](auto i) OTFUSE_LAMBDA {
      constexpr int pair = decltype(i)::value + 1;
      double factor = 1;
      for (int k = 0; k < r; ++k) factor *= FilterPoints<P>::kPoint[pair];
      sum += real_t(factor) * power[2 * pair + r % 2];
    });
    if constexpr (r == 0) sum += m[0];
    if constexpr (r == kOutputs - 1) sum += m[P - 1];
    y[r] = sum;
  });
}

// G w: `taps` weights, `stride` apart, to P.
template <int P>
void filter_weights(const double* w, int taps, double* t) {
  constexpr EvenPolynomial<P> all(-1);
  t[0] = w[0] / all.c[0];
  t[P - 1] = w[taps - 1];
  for (int i = 0; i < FilterPoints<P>::kPairs; ++i) {
    for (int sign = 0; sign < 2; ++sign) {
      const double a = (sign == 0 ? 1 : -1) * FilterPoints<P>::kPoint[i];
      double norm = 2 * a * a, sum = 0;
      for (int q = 0; q < FilterPoints<P>::kPairs; ++q) {
        const double b = FilterPoints<P>::kPoint[q];
        if (q != i) norm *= a * a - b * b;
      }
      for (int j = taps - 1; j >= 0; --j) sum = sum * a + w[j];
      t[1 + 2 * i + sign] = sum / norm;
    }
  }
}

OTFUSE_END_ISA_NAMESPACE
