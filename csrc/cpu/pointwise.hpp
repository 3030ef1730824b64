// SPDX-License-Identifier: BSD-3-Clause
// rl_ratio and rl_update over contiguous arrays: bound by memory, 16 bytes an element in
// float32.
#pragma once

#include "core/pointwise.hpp"
#include "cpu/engine.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Below this a parallel region costs more than it saves.
inline constexpr int64_t kSerialCount = 1 << 15;

inline int useful_threads(int64_t count, int threads) {
  return count < kSerialCount ? 1 : threads;
}

template <class real_t>
void rl_ratio(const RlRatioParams<real_t>& p) {
  const bool clamp = p.mode == RatioMode::kClamp;
#pragma omp parallel for simd num_threads(useful_threads(p.count, p.threads)) \
    schedule(static)
  for (int64_t i = 0; i < p.count; ++i) {
    p.out[i] = clamp
                   ? rl_ratio_clamp(p.image[i], p.reblurred[i], p.background[i], p.floor)
                   : rl_ratio_add(p.image[i], p.reblurred[i], p.background[i], p.floor);
  }
}

template <class real_t>
void rl_update(const RlUpdateParams<real_t>& p) {
  const bool weighted = p.weight != nullptr;
#pragma omp parallel for simd num_threads(useful_threads(p.count, p.threads)) \
    schedule(static)
  for (int64_t i = 0; i < p.count; ++i) {
    const real_t least = p.clamp ? real_t(0) : p.correction[i];
    const real_t product = p.estimate[i] * larger(p.correction[i], least);
    p.out[i] = weighted ? product * p.weight[i] : product;
  }
}

OTFUSE_END_ISA_NAMESPACE
