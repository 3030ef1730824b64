// SPDX-License-Identifier: BSD-3-Clause
// What the launcher of the Richardson-Lucy Network is told.
#pragma once

#include "core/params.hpp"

namespace otfuse {

struct RlnParams {
  Extents extent;  // each at least 2
  int64_t batch;
  int views;             // 1 or 2
  const float* image;    // (batch, views, z, y, x)
  const float* weights;  // (n_weights), in the order that cpu/rln.cpp tells
  int64_t n_weights;
  float denominator;  // added to both divisors
  float* out;         // (batch, 1, z, y, x)
  int threads;
};

}  // namespace otfuse
