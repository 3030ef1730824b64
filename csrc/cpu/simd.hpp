// SPDX-License-Identifier: BSD-3-Clause
// Vectors of lanes by the compiler's vector extension, as wide as the instruction set in
// force, and the transpose of a square tile of them.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/butterfly.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

// 32 vector registers instead of 16.
inline constexpr bool kWide = kVectorBytes == 64;

template <class real_t>
struct Simd {
  static constexpr int kLanes = kVectorBytes / int(sizeof(real_t));
  typedef real_t type __attribute__((vector_size(kVectorBytes)));
  // For reaching plain arrays: the compiler must not take them for unrelated memory.
  typedef real_t aliased __attribute__((vector_size(kVectorBytes), may_alias));
};

template <class real_t>
using Lanes = typename Simd<real_t>::type;

// Integers as wide as the lanes, for their bits.
template <class real_t>
struct LaneWords {
  using Word = std::conditional_t<sizeof(real_t) == 4, int32_t, int64_t>;
  typedef Word type __attribute__((vector_size(kVectorBytes)));
};

template <class real_t>
using Words = typename LaneWords<real_t>::type;

template <class real_t>
OTFUSE_HD Lanes<real_t> load_aligned(const real_t* p) {
  return *reinterpret_cast<const typename Simd<real_t>::aliased*>(p);
}

template <class real_t>
OTFUSE_HD void store_aligned(real_t* p, const Lanes<real_t>& v) {
  *reinterpret_cast<typename Simd<real_t>::aliased*>(p) = v;
}

template <class real_t>
OTFUSE_HD Lanes<real_t> load_unaligned(const real_t* p) {
  Lanes<real_t> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class real_t>
OTFUSE_HD void store_unaligned(real_t* p, const Lanes<real_t>& v) {
  std::memcpy(p, &v, sizeof v);
}

// Past the caches, for what will not be read while it could still be there.
template <class real_t>
OTFUSE_HD void store_streaming(real_t* p, const Lanes<real_t>& v) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), __m512i(v));
#elif defined(__AVX2__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), __m256i(v));
#elif defined(__SSE2__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), __m128i(v));
#else
  store_aligned(p, v);
#endif
}

// Before other threads may read what was stored so.
OTFUSE_HD void end_streaming() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <class real_t>
OTFUSE_HD Lanes<real_t> broadcast(real_t s) {
  return Lanes<real_t>{} + s;
}

template <class real_t>
OTFUSE_HD Complex<Lanes<real_t>> zero_complex() {
  return {Lanes<real_t>{}, Lanes<real_t>{}};
}

// Complex lanes lie as L real parts, then L imaginary parts.
template <class real_t>
OTFUSE_HD Complex<Lanes<real_t>> load_complex(const real_t* p) {
  return {load_aligned(p), load_aligned(p + Simd<real_t>::kLanes)};
}

template <class real_t>
OTFUSE_HD void store_complex(real_t* p, const Complex<Lanes<real_t>>& v) {
  store_aligned(p, v.re);
  store_aligned(p + Simd<real_t>::kLanes, v.im);
}

template <class real_t>
OTFUSE_HD void store_complex(real_t* p, const Complex<Lanes<real_t>>& v, bool streams) {
  if (!streams) return store_complex(p, v);
  store_streaming(p, v.re);
  store_streaming(p + Simd<real_t>::kLanes, v.im);
}

// Calls a complex vector that will be wanted soon into the L2 cache. Streams here are too
// many and too far apart for the processor to foresee, and a core has few requests in
// flight: one is made beside each vector that is worked on, so that memory and arithmetic
// overlap.
template <class real_t>
OTFUSE_HD void prefetch_complex(const real_t* p) {
  __builtin_prefetch(p, 0, 2);
  if constexpr (kVectorBytes == 64) __builtin_prefetch(p + Simd<real_t>::kLanes, 0, 2);
}

// --- transpose
// ------------------------------------------------------------------------------- A tile
// is transposed inside its 128-bit units with unpack instructions, then the units among
// themselves with unit shuffles: every step is one instruction without an index register.

template <class real_t>
struct Tile {
  static constexpr int kLanes = Simd<real_t>::kLanes;
  static constexpr int kUnit = 16 / int(sizeof(real_t));  // elements of a 128-bit unit
  static constexpr int kUnits = kLanes / kUnit;
  using V = Lanes<real_t>;

  // Lane of (a, b) that lane l of unpack low (high = 0) or high (high = 1) takes.
  static constexpr int unpack_lane(int l, int high) {
    const int unit = l / kUnit, within = l % kUnit;
    return unit * kUnit + within / 2 + high * (kUnit / 2) + (within % 2) * kLanes;
  }

  // Units (a[u0], a[u1], b[u0], b[u1]).
  static constexpr int unit_lane(int l, int u0, int u1) {
    const int unit = l / kUnit, half = kUnits / 2;
    const int chosen = unit % half == 0 ? u0 : u1;
    return chosen * kUnit + l % kUnit + (unit / half) * kLanes;
  }

  template <int kHigh, int... I>
  OTFUSE_HD static V unpack(const V& a, const V& b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, unpack_lane(I, kHigh)...);
  }

  template <int kU0, int kU1, int... I>
  OTFUSE_HD static V units(const V& a, const V& b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, unit_lane(I, kU0, kU1)...);
  }

  // One unpack step over groups of kUnit rows: pairs (i, i + kUnit/2) become (2i, 2i +
  // 1).
  OTFUSE_HD static void unpack_step(V* v) {
    constexpr auto lanes = std::make_integer_sequence<int, kLanes>{};
    V t[kLanes];
    unroll<kLanes / 2>([&](auto p) OTFUSE_LAMBDA {
      constexpr int group = decltype(p)::value / (kUnit / 2) * kUnit;
      constexpr int i = decltype(p)::value % (kUnit / 2);
      t[group + 2 * i] = unpack<0>(v[group + i], v[group + i + kUnit / 2], lanes);
      t[group + 2 * i + 1] = unpack<1>(v[group + i], v[group + i + kUnit / 2], lanes);
    });
    unroll<kLanes>([&](auto i) OTFUSE_LAMBDA { v[i] = t[i]; });
  }

  OTFUSE_HD static void unit_step_4(V& a, V& b, V& c, V& d) {
    constexpr auto lanes = std::make_integer_sequence<int, kLanes>{};
    const V ab_low = units<0, 1>(a, b, lanes), ab_high = units<2, 3>(a, b, lanes);
    const V cd_low = units<0, 1>(c, d, lanes), cd_high = units<2, 3>(c, d, lanes);
    a = units<0, 2>(ab_low, cd_low, lanes);
    b = units<1, 3>(ab_low, cd_low, lanes);
    c = units<0, 2>(ab_high, cd_high, lanes);
    d = units<1, 3>(ab_high, cd_high, lanes);
  }

  OTFUSE_HD static void unit_step_2(V& a, V& b) {
    constexpr auto lanes = std::make_integer_sequence<int, kLanes>{};
    const V low = units<0, 0>(a, b, lanes), high = units<1, 1>(a, b, lanes);
    a = low;
    b = high;
  }

  OTFUSE_HD static void transpose(V* v) {
    unpack_step(v);
    if constexpr (kUnit == 4) unpack_step(v);
    unroll<kUnit>([&](auto r) OTFUSE_LAMBDA {
      if constexpr (kUnits == 4) {
        unit_step_4(v[r], v[r + kUnit], v[r + 2 * kUnit], v[r + 3 * kUnit]);
      } else if constexpr (kUnits == 2) {
        unit_step_2(v[r], v[r + kUnit]);
      }
    });
  }
};

OTFUSE_END_ISA_NAMESPACE
