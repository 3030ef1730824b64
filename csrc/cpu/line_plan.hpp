// SPDX-License-Identifier: BSD-3-Clause
// What the transform of one line of n values needs to know: radices, twiddles, where each
// frequency ends up. Lines of a 7-smooth extent are transformed in stages; others through
// a convolution with a chirp on a longer smooth line (Bluestein 1970), exact and slower.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace otfuse {

template <class real_t>
struct LineStage {
  int radix;
  int64_t
      groups;   // transforms side by side at this stage: the product of earlier radices
  int64_t sub;  // extent left after this stage
  int64_t twiddle;  // offset in LinePlan::twiddles of exp(-2 pi i j r / (radix sub)),
                    // [j < sub][1 <= r < radix][re, im]
};

template <class real_t>
struct LinePlan {
  int64_t n = 1;
  std::vector<LineStage<real_t>> stages;
  std::vector<real_t> twiddles;
  std::vector<int32_t> position;  // of frequency k in the transformed line
  std::vector<int32_t> mirror;    // position of frequency -k, by position of k

  // Chirp lines only.
  std::unique_ptr<LinePlan> chirp_plan;  // smooth, at least 2 n - 1
  std::vector<real_t> chirp;             // exp(-i pi j^2 / n), [j < n][re, im]
  std::vector<real_t> chirp_otf;  // its transform over chirp_plan->n, in digit order

  bool smooth() const { return chirp_plan == nullptr; }
  // Complex lanes of scratch that a transform needs beside the line.
  int64_t scratch() const { return smooth() ? 0 : chirp_plan->n; }
};

// `wide` says that the instruction set has 32 vector registers: larger radices pay.
template <class real_t>
LinePlan<real_t> make_line_plan(int64_t n, bool wide);

// The extent >= n whose line is cheapest to transform.
int64_t next_fast_extent(int64_t n, bool wide);

}  // namespace otfuse
