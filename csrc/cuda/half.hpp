// SPDX-License-Identifier: BSD-3-Clause
// Complex values kept in half precision (IEEE 754 binary16): 11 bits, 6e-8 to 65504.
// Numbers beyond that are cut off, so that none becomes infinite.
#pragma once

#include <bit>
#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

#include "core/complex.hpp"
#include "cuda/line_plan.hpp"

namespace otfuse::cuda {

struct alignas(4) HalfPair {
  uint16_t re, im;
};

inline constexpr float kLargestHalf = 65504.0f;

// Round to nearest, ties to even.
OTFUSE_HD uint16_t to_half(float v) {
  v = v > kLargestHalf ? kLargestHalf : v < -kLargestHalf ? -kLargestHalf : v;
#if defined(__CUDA_ARCH__)
  return __half_as_ushort(__float2half_rn(v));
#else
  const uint32_t bits = std::bit_cast<uint32_t>(v);
  const uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u);  // not a number
  if (magnitude <
      0x38800000u) {  // below 2^-14: the addition rounds to multiples of 2^-24
    const float sum = std::bit_cast<float>(magnitude) + 0.5f;
    return uint16_t(sign | (std::bit_cast<uint32_t>(sum) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u);
  return uint16_t(sign | rounded >> 13);
#endif
}

OTFUSE_HD float from_half(uint16_t half) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(half));
#else
  const uint32_t sign = (half & 0x8000u) << 16, magnitude = (half & 0x7fffu) << 13;
  if (magnitude >= 0x0f800000u)
    return std::bit_cast<float>(sign | magnitude | 0x7f800000u);
  const float value = std::bit_cast<float>(magnitude) * 0x1p112f;  // exponents 112 apart
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
#endif
}

OTFUSE_HD Complex<float> unpack(const HalfPair& p) {
  return {from_half(p.re), from_half(p.im)};
}

template <class Stored>
struct Packing;  // of a complex value for memory

template <class T>
struct Packing<Pair<T>> {
  static constexpr bool kHalf = false;
  OTFUSE_HD static Pair<T> pack(const Complex<T>& v) { return {v.re, v.im}; }
};

template <>
struct Packing<HalfPair> {
  static constexpr bool kHalf = true;
  OTFUSE_HD static HalfPair pack(const Complex<float>& v) {
    return {to_half(v.re), to_half(v.im)};
  }
};

}  // namespace otfuse::cuda
