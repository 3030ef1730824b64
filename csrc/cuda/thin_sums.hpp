// SPDX-License-Identifier: BSD-3-Clause
// What the thin-channel kernels share; mirrors cpu/thin_kernel.hpp and
// cpu/thin_block.hpp. The 32 threads of a warp take neighbouring columns of some rows.
// Each keeps kOut channels by kThinRows rows of sums in registers; input values and
// weights come from shared memory, where a warp reads 32 neighbouring values at once, and
// all threads the same weights: in float32 kRows taps along y cost 8 + kRows - 1 loads of
// inputs and kRows * kOut / 4 of weights for 8 kRows kOut multiply-adds.
#pragma once

#include "core/activation.hpp"
#include "core/butterfly.hpp"
#include "core/phases.hpp"
#include "core/thin_params.hpp"
#include "cuda/line_plan.hpp"

namespace otfuse::cuda {

inline constexpr int kWarp = 32;
inline constexpr int kThinPitch = 40;                     // from a staged row to the next
inline constexpr int kThinTaps = kThinPitch - kWarp + 1;  // along x, of a staged plane
inline constexpr int64_t kStageBytes = 48 << 10;          // four blocks a multiprocessor

template <class real_t>
inline constexpr int kThinRows = int(32 / sizeof(real_t));  // of a thread

template <class real_t, int kOut>
struct ThinSums {
  real_t at[kOut][kThinRows<real_t>];
};

// Weights of neighbouring channels, loaded 16 bytes at a time.
template <class real_t, int kOut>
struct alignas(kOut * sizeof(real_t) < 16 ? kOut * sizeof(real_t) : 16) ThinWeights {
  real_t at[kOut];
};

// sums[o][p] += weights[r][o] * values[p + r] for r < kRows; rows of values lie kPitch
// apart, weights of rows `step`.
template <int kRows, int kPitch, int kOut, class real_t>
OTFUSE_HD void add_taps(ThinSums<real_t, kOut>& sums, const real_t* values,
                        const real_t* weights, int step) {
  constexpr int kPixels = kThinRows<real_t>;
  real_t v[kPixels + kRows - 1];
  OTFUSE_UNROLLED
  for (int p = 0; p < kPixels + kRows - 1; ++p) v[p] = values[p * kPitch];
  OTFUSE_UNROLLED
  for (int r = 0; r < kRows; ++r) {
    const auto w =
        *reinterpret_cast<const ThinWeights<real_t, kOut>*>(weights + r * step);
    OTFUSE_UNROLLED
    for (int o = 0; o < kOut; ++o) {
      OTFUSE_UNROLLED
      for (int p = 0; p < kPixels; ++p) sums.at[o][p] += w.at[o] * v[p + r];
    }
  }
}

// From one row of staged weights to the next: a pad, so that transposing them shares few
// banks.
OTFUSE_HD constexpr int weight_pitch(int channels) {
  return channels <= 4 ? channels : channels + 4;
}

// Fills the places of a staged plane, at most kThinPitch columns of it: store(row,
// column, load(row, column)). A warp takes every so many rows, kBatch of them at a time,
// so that as many loads are under way before the first value is stored.
template <int kThreads, int kBatch, class Load, class Store>
OTFUSE_HD void stage(int t, int rows, int columns, Load load, Store store) {
  constexpr int kWarps = kThreads / kWarp, kPieces = (kThinPitch + kWarp - 1) / kWarp;
  using Value = decltype(load(0, 0));
  for (int first = t / kWarp; first < rows; first += kBatch * kWarps) {
    Value values[kBatch * kPieces];
    OTFUSE_UNROLLED
    for (int i = 0; i < kBatch * kPieces; ++i) {
      const int r = first + i / kPieces * kWarps, c = t % kWarp + i % kPieces * kWarp;
      values[i] = r < rows && c < columns ? load(r, c) : Value{};
    }
    OTFUSE_UNROLLED
    for (int i = 0; i < kBatch * kPieces; ++i) {
      const int r = first + i / kPieces * kWarps, c = t % kWarp + i % kPieces * kWarp;
      if (r < rows && c < columns) store(r, c, values[i]);
    }
  }
}

// As many integers as a value of real_t, for its bits.
template <class real_t>
struct WordOf;
template <>
struct WordOf<float> {
  using type = int32_t;
};
template <>
struct WordOf<double> {
  using type = int64_t;
};

template <class real_t>
OTFUSE_HD real_t softplus_of(real_t t) {
  return softplus<real_t, typename WordOf<real_t>::type>(t);
}

template <class real_t>
OTFUSE_HD real_t activated(real_t t, Activation activation) {
  if (activation == Activation::kRelu) return relu(t);
  return activation == Activation::kSoftplus ? softplus_of(t) : t;
}

// The input of a convolution as a kernel's parameter.
template <class real_t>
struct ThinInputs {
  static constexpr int kMost = 8;
  ThinSource<real_t> source[kMost];
  ThinSource<real_t> added;  // one channel, or no data

  explicit ThinInputs(const std::vector<ThinSource<real_t>>& sources,
                      const ThinSource<real_t>& added = {})
      : added(added) {
    if (sources.size() > kMost) {
      throw std::invalid_argument("conv_thin: inputs must be at most " +
                                  std::to_string(kMost) + " on a device, got " +
                                  std::to_string(sources.size()));
    }
    std::copy(sources.begin(), sources.end(), source);
  }

  OTFUSE_HD const real_t* channel(int64_t item, int64_t c) const {
    int i = 0;
    for (; c >= source[i].channels; ++i) c -= source[i].channels;
    return source[i].data + item * source[i].batch_stride + c * source[i].channel_stride;
  }
};

}  // namespace otfuse::cuda
