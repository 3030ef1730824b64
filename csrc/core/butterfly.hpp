// SPDX-License-Identifier: BSD-3-Clause
// Discrete Fourier transforms of 2 to 16 values in registers, natural order in and out:
//   X[k] = sum_j x[j] exp(-2 pi i j k / R)
// Odd primes pair x[j] with x[R-j]; composite radices are two small transforms with
// constant twiddles between them (Cooley & Tukey 1965). Everything unrolls at compile
// time, because a compiler only keeps an array in registers when it sees constant
// indices. Values are asked for by load(Index) when they are needed and given to
// store(Index, value) when they are ready: sixteen complex values fill the register file,
// so none may wait in it.
#pragma once

#include <utility>

#include "core/complex.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <int N>
struct Index {
  static constexpr int value = N;
  OTFUSE_HD constexpr operator int() const { return N; }
};

template <class F, int... I>
OTFUSE_HD void unroll_impl(F& f, std::integer_sequence<int, I...>) {
  (f(Index<I>{}), ...);
}

// f(Index<0>), f(Index<1>), ... f(Index<N-1>)
template <int N, class F>
OTFUSE_HD void unroll(F f) {
  unroll_impl(f, std::make_integer_sequence<int, N>{});
}

// cos and sin of 2 pi k / n as constants; std::cos is not constexpr before C++26.
struct UnitRoot {
  double cos, sin;
};

OTFUSE_HD constexpr UnitRoot unit_root(int k, int n) {
  k %= n;
  if (2 * k > n) k -= n;  // |angle| <= pi, where 24 terms of the series are exact
  const double x = 6.283185307179586476925286766559 * k / n;
  double cos = 0, sin = 0, term = 1;
  for (int i = 0; i < 48; i += 2) {
    cos += term;
    term *= x / (i + 1);
    sin += term;
    term *= -x / (i + 2);
  }
  return {cos, sin};
}

// a exp(-2 pi i K / N); the eighth roots cost nothing or two multiplications.
template <int K, int N, class real_t, class T>
OTFUSE_HD Complex<T> rotate(const Complex<T>& a) {
  constexpr int k = (K % N + N) % N;
  if constexpr (k == 0) {
    return a;
  } else if constexpr (4 * k == N) {
    return {a.im, -a.re};
  } else if constexpr (2 * k == N) {
    return {-a.re, -a.im};
  } else if constexpr (4 * k == 3 * N) {
    return {-a.im, a.re};
  } else if constexpr (8 * k == N) {
    constexpr real_t h = real_t(0.70710678118654752440);
    return {h * (a.im + a.re), h * (a.im - a.re)};
  } else if constexpr (8 * k == 3 * N) {
    constexpr real_t h = real_t(0.70710678118654752440);
    return {h * (a.im - a.re), -h * (a.im + a.re)};
  } else {
    constexpr UnitRoot w = unit_root(k, N);
    return multiply(a, real_t(w.cos), real_t(-w.sin));
  }
}

template <int R, class real_t>
struct Dft {  // odd primes
  static_assert(R % 2 == 1 && R >= 3);
  static constexpr int kHalf = R / 2;

  template <class T, class Load, class Store>
  OTFUSE_HD static void run(Load load, Store store) {
    const Complex<T> first = load(Index<0>{});
    Complex<T> sum[kHalf], difference[kHalf], total = first;
    unroll<kHalf>([&](auto j) OTFUSE_LAMBDA {
      constexpr int kJ = decltype(j)::value;
      const Complex<T> a = load(Index<kJ + 1>{}), b = load(Index<R - 1 - kJ>{});
      sum[j] = a + b;
      difference[j] = a - b;
      total = total + sum[j];
    });
    store(Index<0>{}, total);
    unroll<kHalf>([&](auto k) OTFUSE_LAMBDA {
      constexpr int kK = decltype(k)::value;
      Complex<T> even = first, odd;
      unroll<kHalf>([&](auto j) OTFUSE_LAMBDA {
        constexpr UnitRoot w = unit_root((decltype(j)::value + 1) * (kK + 1), R);
        constexpr real_t c = real_t(w.cos), s = real_t(w.sin);
        even = {even.re + sum[j].re * c, even.im + sum[j].im * c};
        if constexpr (decltype(j)::value == 0) {
          odd = {difference[j].re * s, difference[j].im * s};
        } else {
          odd = {odd.re + difference[j].re * s, odd.im + difference[j].im * s};
        }
      });
      store(Index<kK + 1>{}, Complex<T>{even.re + odd.im, even.im - odd.re});
      store(Index<R - 1 - kK>{}, Complex<T>{even.re - odd.im, even.im + odd.re});
    });
  }
};

template <class real_t>
struct Dft<1, real_t> {  // a line of one value
  template <class T, class Load, class Store>
  OTFUSE_HD static void run(Load load, Store store) {
    store(Index<0>{}, load(Index<0>{}));
  }
};

template <class real_t>
struct Dft<2, real_t> {
  template <class T, class Load, class Store>
  OTFUSE_HD static void run(Load load, Store store) {
    const Complex<T> a = load(Index<0>{}), b = load(Index<1>{});
    store(Index<0>{}, a + b);
    store(Index<1>{}, a - b);
  }
};

template <int A, int B, class real_t>
struct CompositeDft {  // input index B a + b, output index p + A q
  template <class T, class Load, class Store>
  OTFUSE_HD static void run(Load load, Store store) {
    Complex<T> t[A][B];
    unroll<B>([&](auto b) OTFUSE_LAMBDA {
      constexpr int kB = decltype(b)::value;
      Dft<A, real_t>::template run<T>(
          [&](auto a) OTFUSE_LAMBDA { return load(Index<B* decltype(a)::value + kB>{}); },
          [&](auto p, const Complex<T>& v) OTFUSE_LAMBDA {
            t[p][b] = rotate<decltype(p)::value * kB, A * B, real_t>(v);
          });
    });
    unroll<A>([&](auto p) OTFUSE_LAMBDA {
      constexpr int kP = decltype(p)::value;
      Dft<B, real_t>::template run<T>([&](auto b) OTFUSE_LAMBDA { return t[p][b]; },
                                      [&](auto q, const Complex<T>& v) OTFUSE_LAMBDA {
                                        store(Index<kP + A* decltype(q)::value>{}, v);
                                      });
    });
  }
};

template <class real_t>
struct Dft<4, real_t> : CompositeDft<2, 2, real_t> {};
template <class real_t>
struct Dft<6, real_t> : CompositeDft<2, 3, real_t> {};
template <class real_t>
struct Dft<8, real_t> : CompositeDft<2, 4, real_t> {};
template <class real_t>
struct Dft<9, real_t> : CompositeDft<3, 3, real_t> {};
template <class real_t>
struct Dft<10, real_t> : CompositeDft<2, 5, real_t> {};
template <class real_t>
struct Dft<12, real_t> : CompositeDft<3, 4, real_t> {};
template <class real_t>
struct Dft<15, real_t> : CompositeDft<3, 5, real_t> {};
template <class real_t>
struct Dft<16, real_t> : CompositeDft<4, 4, real_t> {};

OTFUSE_END_ISA_NAMESPACE
