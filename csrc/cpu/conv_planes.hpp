// SPDX-License-Identifier: BSD-3-Clause
// 3x3x3 convolutions of a few channels, two planes of outputs at a time, by Winograd's
// F(2, 3) along z: from four planes d0 .. d3 of an input and three taps g0, g1, g2 along
// z
//   m0 = (d0 - d2) g0                  m1 = (d1 + d2) (g0 + g1 + g2) / 2
//   m2 = (d2 - d1) (g0 - g1 + g2) / 2  m3 = (d1 - d3) g2
//   out0 = m0 + m1 + m2                out1 = m1 - m2 - m3
// so that 4 multiplications do the work of 6; each "g" stands for the 3x3 taps of a
// plane. The four sums are made one after the other, each over all inputs, in registers:
// kOut channels of kVectors vectors along x. Weights come transformed, see
// core/rln_params.hpp. Winograd 1980; Lavin & Gray, CVPR 2016.
#pragma once

#include "core/rln_params.hpp"
#include "cpu/plane_ring.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

inline constexpr int kSums = 4;

// Channels of one or two or three rings, one after another, as the inputs of a pair of
// planes.
struct PairInputs {
  static constexpr int kMost = 16;
  int channels = 0;
  const float* planes[kMost][kSums];
  int64_t pitch = 0;

  // Planes z - 1 .. z + 2 of every channel of a ring.
  PairInputs& add(const PlaneRing& ring, int64_t z) {
    for (int c = 0; c < ring.channels; ++c, ++channels) {
      for (int k = 0; k < kSums; ++k) planes[channels][k] = ring.any_plane(c, z - 1 + k);
    }
    pitch = ring.shape.pitch();
    return *this;
  }
};

template <int kOut>
inline constexpr int kBlockVectors = kWide ? 24 / kOut : (kOut == 8 ? 1 : 2);

template <int kSum>
OTFUSE_HD Lanes<float> combined(const float* const (&planes)[kSums], int64_t offset) {
  constexpr int kFirst = kSum == 0 ? 0 : kSum == 2 ? 2 : 1;
  constexpr int kSecond = kSum == 2 ? 1 : kSum == 3 ? 3 : 2;
  const Lanes<float> a = load_unaligned(planes[kFirst] + offset);
  const Lanes<float> b = load_unaligned(planes[kSecond] + offset);
  return kSum == 1 ? a + b : a - b;
}

// One of the four sums of a block, at `offset` in a plane, to (kOut, kVectors) vectors.
template <int kOut, int kVectors, int kSum>
OTFUSE_HD void sum_block(const PairInputs& in, const ConvWeights& w, int64_t offset,
                         Lanes<float>* sums) {
  Lanes<float> acc[kOut][kVectors];
  unroll<kOut>([&](auto o) OTFUSE_LAMBDA {
    const Lanes<float> start = kSum == 1 ? broadcast(w.shift[o]) : Lanes<float>{};
    unroll<kVectors>([&](auto v) OTFUSE_LAMBDA { acc[o][v] = start; });
  });
  const float* tap = w.taps + int64_t(kSum) * in.channels * 9 * kOut;
  for (int c = 0; c < in.channels; ++c) {
    for (int dy = -1; dy <= 1; ++dy) {
      const int64_t row = offset + dy * in.pitch;
      unroll<3>([&](auto dx) OTFUSE_LAMBDA {
        Lanes<float> d[kVectors];
        unroll<kVectors>([&](auto v) OTFUSE_LAMBDA {
          d[v] = combined<kSum>(in.planes[c], row + dx - 1 + v * kFloatLanes);
        });
        unroll<kOut>([&](auto o) OTFUSE_LAMBDA {
          const Lanes<float> g = broadcast(tap[dx * kOut + o]);
          unroll<kVectors>([&](auto v) OTFUSE_LAMBDA { acc[o][v] += g * d[v]; });
        });
      });
      tap += 3 * kOut;
    }
  }
  unroll<kOut * kVectors>([&](auto i) OTFUSE_LAMBDA {
    sums[kSum * kOut * kVectors + i] = acc[i / kVectors][i % kVectors];
  });
}

template <int kOut, int kVectors, class Store>
OTFUSE_KERNEL void conv_block(const PairInputs& in, const ConvWeights& w, int64_t row,
                              int64_t x, const Store& store) {
  Lanes<float> sums[kSums * kOut * kVectors];
  unroll<kSums>(
      [&](auto k) OTFUSE_LAMBDA { sum_block<kOut, kVectors, k>(in, w, row + x, sums); });
  for (int v = 0; v < kVectors; ++v) {
    Lanes<float> out[2][kOut];
    unroll<kOut>([&](auto o) OTFUSE_LAMBDA {
      const auto sum = [&](int k)
                           OTFUSE_LAMBDA { return sums[(k * kOut + o) * kVectors + v]; };
      out[0][o] = sum(0) + sum(1) + sum(2);
      out[1][o] = sum(1) - sum(2) - sum(3);
    });
    store(x + v * kFloatLanes, out);
  }
}

// store(x, out) for every vector of a row, out[plane][channel] being the sums of two
// planes.
template <int kOut, class Store>
void conv_row(const PairInputs& in, const ConvWeights& w, const PlaneShape& shape,
              int64_t y, const Store& store) {
  constexpr int kMost = kBlockVectors<kOut>;
  const int64_t row = shape.row(y), vectors = shape.vectors();
  int64_t v = 0;
  for (; v + kMost <= vectors; v += kMost) {
    conv_block<kOut, kMost>(in, w, row, v * kFloatLanes, store);
  }
  for (; v < vectors; ++v) conv_block<kOut, 1>(in, w, row, v * kFloatLanes, store);
}

OTFUSE_END_ISA_NAMESPACE
