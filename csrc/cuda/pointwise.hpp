// SPDX-License-Identifier: BSD-3-Clause
// rl_ratio and rl_update over contiguous arrays: bound by memory, 16 bytes an element in
// float32, moved 16 at a time where the arrays are aligned.
#pragma once

#include "core/params.hpp"
#include "core/phases.hpp"
#include "core/pointwise.hpp"

namespace otfuse::cuda {

// kWidth neighbouring values.
template <class real_t, int kWidth>
struct alignas(kWidth * sizeof(real_t)) Several {
  real_t value[kWidth];
};

template <class real_t, bool kAdd>
struct RatioFormula {
  const real_t *image, *reblurred, *background;
  real_t floor;
  real_t* out;

  template <int kWidth>
  OTFUSE_HD void at(int64_t i) const {
    using V = Several<real_t, kWidth>;
    const V y = reinterpret_cast<const V*>(image)[i];
    const V h = reinterpret_cast<const V*>(reblurred)[i];
    const V b = reinterpret_cast<const V*>(background)[i];
    V r;
    for (int k = 0; k < kWidth; ++k) {
      r.value[k] = kAdd ? rl_ratio_add(y.value[k], h.value[k], b.value[k], floor)
                        : rl_ratio_clamp(y.value[k], h.value[k], b.value[k], floor);
    }
    reinterpret_cast<V*>(out)[i] = r;
  }
  uintptr_t addresses() const {
    return uintptr_t(image) | uintptr_t(reblurred) | uintptr_t(background) |
           uintptr_t(out);
  }
};

template <class real_t, bool kWeighted>
struct UpdateFormula {
  const real_t *estimate, *correction, *weight;
  real_t* out;

  template <int kWidth>
  OTFUSE_HD void at(int64_t i) const {
    using V = Several<real_t, kWidth>;
    V x = reinterpret_cast<const V*>(estimate)[i];
    const V c = reinterpret_cast<const V*>(correction)[i];
    for (int k = 0; k < kWidth; ++k) x.value[k] *= c.value[k];
    if constexpr (kWeighted) {
      const V w = reinterpret_cast<const V*>(weight)[i];
      for (int k = 0; k < kWidth; ++k) x.value[k] *= w.value[k];
    }
    reinterpret_cast<V*>(out)[i] = x;
  }
  uintptr_t addresses() const {
    return uintptr_t(estimate) | uintptr_t(correction) | uintptr_t(weight) |
           uintptr_t(out);
  }
};

template <class Formula, int kWidth>
struct ElementPass {
  static constexpr int kThreads = 256;
  static constexpr int kBlocksPerMultiprocessor = 4;
  static constexpr int64_t kEach = 4;  // of a thread: loads in flight

  Formula formula;
  int64_t count;  // of groups of kWidth
  int64_t first;  // of them

  static int64_t blocks(int64_t count) {
    return (count + kThreads * kEach - 1) / (kThreads * kEach);
  }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    block.phase([&](int t) {
      const int64_t begin = first + block.index * kThreads * kEach + t;
      for (int64_t k = 0; k < kEach; ++k) {
        const int64_t i = begin + k * kThreads;
        if (i < first + count) formula.template at<kWidth>(i);
      }
    });
  }
};

template <class real_t, class Formula, class Launch>
void each_element(const Formula& formula, int64_t count, const Launch& launch) {
  constexpr int kWidth = 16 / int(sizeof(real_t));
  const int64_t wide = formula.addresses() % 16 == 0 ? count / kWidth : 0;
  const ElementPass<Formula, kWidth> bulk{formula, wide, 0};
  const ElementPass<Formula, 1> rest{formula, count - wide * kWidth, wide * kWidth};
  launch(bulk, bulk.blocks(bulk.count), 0);
  launch(rest, rest.blocks(rest.count), 0);
}

template <class real_t, class Launch>
void rl_ratio(const RlRatioParams<real_t>& p, const Launch& launch) {
  const auto run = [&](auto add) {
    const RatioFormula<real_t, decltype(add)::value> formula{
        p.image, p.reblurred, p.background, p.floor, p.out};
    each_element<real_t>(formula, p.count, launch);
  };
  p.mode == RatioMode::kAdd ? run(std::true_type{}) : run(std::false_type{});
}

template <class real_t, class Launch>
void rl_update(const RlUpdateParams<real_t>& p, const Launch& launch) {
  const auto run = [&](auto weighted) {
    const UpdateFormula<real_t, decltype(weighted)::value> formula{
        p.estimate, p.correction, p.weight, p.out};
    each_element<real_t>(formula, p.count, launch);
  };
  p.weight != nullptr ? run(std::true_type{}) : run(std::false_type{});
}

}  // namespace otfuse::cuda
