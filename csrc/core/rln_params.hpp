// SPDX-License-Identifier: BSD-3-Clause
// What the launcher of the Richardson-Lucy Network is told.
#pragma once

#include "core/params.hpp"

namespace otfuse {

// Some rows of every plane.
struct Rows {
  int64_t begin, end;

  int64_t count() const { return end - begin; }
};

// What the CPU's network reads and writes in one strip of a volume.
struct RlnStrip {
  Rows image, out;
};

struct RlnParams {
  Extents extent;  // each at least 2
  int64_t batch;
  int views;             // 1 or 2
  const float* image;    // (batch, views, z, y, x)
  const float* weights;  // (n_weights), as RlnWeights says
  int64_t n_weights;
  float denominator;  // added to both divisors
  float* out;         // (batch, 1, z, y, x)
  int threads;
};

struct ConvWeights {
  const float* taps;   // of F(2, 3) along z: (4 sums, in, 3, 3, out)
  const float* shift;  // (out), added to each output
};

struct Affine {
  const float *scale, *shift;  // one a channel
};

// The weights, one array after another: for the convolutions 1 to 15 in turn the taps,
// then the shift; then scale and shift of the normalisations 3, 9, 12 and 15. Other
// normalisations are folded into these. Number 7 is the transposed one, of taps (2 z, 2
// y, 2 x, in, out).
struct RlnWeights {
  ConvWeights conv[16];
  Affine norm_3, norm_9, norm_12, norm_15;
  int64_t floats = 0;

  RlnWeights(const float* data, int views) {
    constexpr int kIn[] = {0, 0, 4, 8, 0, 8, 16, 8,
                           4, 0, 4, 0, 8, 1, 10, 16};  // 0: views
    constexpr int kOut[] = {0, 4, 4, 4, 8, 8, 8, 4, 4, 4, 4, 8, 8, 8, 8, 8};
    const auto take = [&](int64_t n) {
      floats += n;
      return data + floats - n;
    };
    for (int k = 1; k <= 15; ++k) {
      const int in = kIn[k] == 0 ? views : kIn[k];
      const float* taps = take(int64_t(in) * kOut[k] * (k == 7 ? 8 : 4 * 9));
      conv[k] = {taps, take(kOut[k])};
    }
    const auto affine = [&](int n) {
      const float* scale = take(n);
      return Affine{scale, take(n)};
    };
    norm_3 = affine(views);
    norm_9 = affine(1);
    norm_12 = affine(views);
    norm_15 = affine(1);
  }
};

}  // namespace otfuse
