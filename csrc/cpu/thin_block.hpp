// SPDX-License-Identifier: BSD-3-Clause
// The inner loop of the thin-channel convolutions: kChannels x kVectors vectors of sums
// in registers, neighbouring x in the lanes, weights broadcast. A vector of input is used
// kChannels times and a weight kVectors times, so that the loads keep up with the
// multiplications.
#pragma once

#include "cpu/simd.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

inline constexpr int kMostGroups = 81;  // planes times rows of a kernel, or sources

// Input rows that a kernel reads alike: channels `stride` apart, every one at `width`
// neighbouring offsets in x.
template <class real_t>
struct ThinGroup {
  const real_t* input;
  const real_t* weight;  // (channel, width, kChannels)
  int64_t channels, stride;
};

// All input under the kernel.
template <class real_t>
struct ThinTaps {
  ThinGroup<real_t> group[kMostGroups];
  int groups = 0;
  int64_t width;
};

// sums[c][n], kVectors vectors apart: what the kernel gives at x, x + L, ...
template <int kChannels, int kVectors, class real_t>
OTFUSE_KERNEL void thin_block(const ThinTaps<real_t>& taps, int64_t x, real_t* sums) {
  constexpr int kLanes = Simd<real_t>::kLanes;
  using V = Lanes<real_t>;
  V sum[kChannels][kVectors];
  unroll<kChannels>([&](auto c) OTFUSE_LAMBDA {
    unroll<kVectors>([&](auto n) OTFUSE_LAMBDA { sum[c][n] = V{}; });
  });
  for (int g = 0; g < taps.groups; ++g) {
    const ThinGroup<real_t>& group = taps.group[g];
    const real_t *row = group.input + x, *weight = group.weight;
    for (int64_t channel = 0; channel < group.channels; ++channel, row += group.stride) {
      for (int64_t k = 0; k < taps.width; ++k, weight += kChannels) {
        V value[kVectors];
        unroll<kVectors>([&](auto n) OTFUSE_LAMBDA {
          value[n] = load_unaligned(row + k + n * kLanes);
        });
        unroll<kChannels>([&](auto c) OTFUSE_LAMBDA {
          const V w = broadcast(weight[c]);
          unroll<kVectors>([&](auto n) OTFUSE_LAMBDA { sum[c][n] += w * value[n]; });
        });
      }
    }
  }
  unroll<kChannels>([&](auto c) OTFUSE_LAMBDA {
    unroll<kVectors>([&](auto n) OTFUSE_LAMBDA {
      store_aligned(sums + (c * kVectors + n) * kLanes, sum[c][n]);
    });
  });
}

// Widest blocks that leave registers for the input and a weight.
constexpr int most_vectors(int channels) {
  const int vectors = (kWide ? 24 : 12) / channels;
  return vectors < 8 ? vectors : 8;
}

// Channels of the widest block.
inline constexpr int kWidestBlock = kWide ? 8 : 4;

template <int kChannels, class real_t>
void thin_vectors(const ThinTaps<real_t>& taps, int64_t x, int vectors, real_t* sums) {
  unroll<most_vectors(kChannels)>([&](auto n) OTFUSE_LAMBDA {
    constexpr int kVectors = decltype(n)::value + 1;
    if (vectors == kVectors) thin_block<kChannels, kVectors>(taps, x, sums);
  });
}

// As above for 1, 4 or kWidestBlock channels and at most most_vectors(channels).
template <class real_t>
void thin_block(int channels, const ThinTaps<real_t>& taps, int64_t x, int vectors,
                real_t* sums) {
  if (channels == 1) return thin_vectors<1>(taps, x, vectors, sums);
  if (channels == 4) return thin_vectors<4>(taps, x, vectors, sums);
  if constexpr (kWidestBlock == 8) thin_vectors<8>(taps, x, vectors, sums);
}

OTFUSE_END_ISA_NAMESPACE
