// SPDX-License-Identifier: BSD-3-Clause
// What the transform of one line needs to know on the device; mirrors cpu/line_plan.hpp.
// Numbers of stages travel with the kernel's parameters; twiddles and positions are a
// table in device memory that the caller keeps for as long as it likes (line_table).
#pragma once

#include <cstdint>
#include <string>

#include "core/platform.hpp"

namespace otfuse::cuda {

inline constexpr int64_t kLongestLine = 4096;
inline constexpr int kMostStages = 8;

// Two numbers that lie side by side and are moved together.
template <class T>
struct alignas(2 * sizeof(T)) Pair {
  T re, im;
};

// n / d without dividing (Granlund & Montgomery 1994); exact while n d < 2^32.
struct Divider {
  uint32_t d = 1, inverse = 0;

  Divider() = default;
  explicit Divider(int64_t by)
      : d(uint32_t(by)),
        inverse(by == 1 ? 0 : uint32_t((uint64_t(1) << 32) / uint64_t(by)) + 1) {}

  OTFUSE_HD int quotient(int n) const {
    if (inverse == 0) return n;
    return int((uint64_t(uint32_t(n)) * inverse) >> 32);
  }
};

struct DeviceStage {
  int radix = 1;
  int groups =
      1;        // transforms side by side at this stage: the product of earlier radices
  int sub = 1;  // extent left after this stage
  int twiddle = 0;  // place in the table, as in cpu/line_plan.hpp
  Divider by_sub;
};

// Where value i of a line lies in shared memory: gaps keep neighbouring frequencies,
// which digit reversal scatters, from sharing banks.
struct Padding {
  int fine = 31,
      coarse = 31;  // a gap after every 2^fine values, and after every 2^coarse

  OTFUSE_HD int place(int i) const { return i + (i >> fine) + (i >> coarse); }
  // Of a line of n values; odd, so that neighbouring lines do not share banks either.
  int pitch(int n) const { return place(n) | 1; }
};

// Stages of the line of n values, fewest first, then smallest radices.
struct LineStages {
  int n = 1;
  int count = 0;
  int twiddles = 0;  // pairs in the table
  DeviceStage stage[kMostStages];
  Padding padding;
};

// Largest butterfly that a thread's registers hold.
template <class real_t>
inline constexpr int kLargestRadix = sizeof(real_t) == 4 ? 16 : 8;

// Complex values from one row of a half spectrum to the next: whole 32-byte sectors.
inline int64_t spectrum_pitch(int64_t nx) { return (nx / 2 + 4) / 4 * 4; }

bool has_line_plan(int64_t n);  // 7-smooth and short enough
LineStages line_stages(int64_t n, int largest_radix);

// The bytes of a line's table: Pair<real_t>[twiddles], then int32 position[n] of each
// frequency in the transformed line.
template <class real_t>
std::string line_table(int64_t n);

template <class real_t>
struct LinePlan : LineStages {
  const Pair<real_t>* twiddle_table = nullptr;
  const int32_t* position = nullptr;

  LinePlan() = default;
  LinePlan(int64_t n, const void* table)
      : LineStages(line_stages(n, kLargestRadix<real_t>)),
        twiddle_table(static_cast<const Pair<real_t>*>(table)),
        position(reinterpret_cast<const int32_t*>(twiddle_table + twiddles)) {}
};

}  // namespace otfuse::cuda
