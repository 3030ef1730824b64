// SPDX-License-Identifier: BSD-3-Clause
// The pointwise formulae of Richardson-Lucy (Richardson 1972, Lucy 1974), for scalars or
// lanes.
#pragma once

#include "core/platform.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class T>
OTFUSE_HD T larger(const T& a, const T& b) {
  return a > b ? a : b;
}

// What the camera is expected to record; never below `floor`, so that dividing by it is
// safe.
template <class T>
OTFUSE_HD T rl_expected(const T& reblurred, const T& background, const T& floor) {
  return larger(T(reblurred + background), floor);
}

// mode "clamp": image / max(reblurred + background, floor)
template <class T>
OTFUSE_HD T rl_ratio_clamp(const T& image, const T& reblurred, const T& background,
                           const T& floor) {
  return image / rl_expected(reblurred, background, floor);
}

// mode "add": image / (reblurred + background + floor), 0 where that is 0
template <class T>
OTFUSE_HD T rl_ratio_add(const T& image, const T& reblurred, const T& background,
                         const T& floor) {
  const T zero = image - image;
  const T divisor = reblurred + background + floor;
  return divisor == zero ? zero : image / divisor;
}

// The point from which an accelerated step is taken: x + a (x - x_before), at least
// x / 2 and `floor`. An update multiplies, so what momentum took from a voxel beyond that
// would come back in many steps only.
template <class T>
OTFUSE_HD T rl_momentum(const T& estimate, const T& previous, const T& step,
                        const T& floor) {
  const T least = larger(T(estimate / 2), floor);
  return larger(T(estimate + step * (estimate - previous)), least);
}

OTFUSE_END_ISA_NAMESPACE
