// SPDX-License-Identifier: BSD-3-Clause
// Numbers that every plan of a line transform is made of: roots of unity, and where
// decimation in frequency leaves each frequency.
#pragma once

#include <cmath>
#include <complex>
#include <cstdint>

namespace otfuse {

inline bool is_smooth(int64_t n) {
  for (int64_t p : {2, 3, 5, 7}) {
    while (n % p == 0) n /= p;
  }
  return n == 1;
}

// exp(-2 pi i k / n), with the angle reduced before it is rounded.
inline std::complex<double> root(int64_t k, int64_t n) {
  const double angle = -2.0 * M_PI * double(k % n) / double(n);
  return {std::cos(angle), std::sin(angle)};
}

// Decimation in frequency leaves frequency k = r + radix q of a stage in sub-line r,
// place q. Stages have a `radix` and the extent `sub` that is left after them.
template <class Stages>
int64_t digit_position(const Stages& stages, int64_t k) {
  int64_t position = 0;
  for (const auto& stage : stages) {
    position += (k % stage.radix) * stage.sub;
    k /= stage.radix;
  }
  return position;
}

}  // namespace otfuse
