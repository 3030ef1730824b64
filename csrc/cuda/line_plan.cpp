// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/line_plan.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <mutex>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/digits.hpp"

namespace otfuse::cuda {
namespace {

// Those that with_radix in cuda/line_fft.hpp has; without 9 and 12 to 15, which save a
// stage on few lines and cost registers and compile time on all.
constexpr std::array kRadices = {16, 10, 8, 7, 6, 5, 4, 3, 2};

struct Choice {
  int stages = kMostStages + 1, sum = 0, radix = 0;
};

// For every extent the largest first radix of the cheapest product, by dynamic
// programming.
std::vector<Choice> choices(int largest_radix) {
  std::vector<Choice> best(kLongestLine + 1);
  best[1] = {0, 0, 1};
  for (int n = 2; n <= kLongestLine; ++n) {
    for (int radix : kRadices) {
      if (radix > largest_radix || n % radix != 0) continue;
      const Choice& rest = best[size_t(n / radix)];
      const Choice found{rest.stages + 1, rest.sum + radix, radix};
      Choice& b = best[size_t(n)];
      if (found.stages < b.stages || (found.stages == b.stages && found.sum < b.sum))
        b = found;
    }
  }
  return best;
}

std::vector<int> radices_of(int64_t n, int largest_radix) {
  static const auto small = choices(8), large = choices(16);
  const auto& best = largest_radix < 16 ? small : large;
  std::vector<int> radices;
  for (; n > 1; n /= radices.back()) radices.push_back(best[size_t(n)].radix);
  if (radices.empty()) radices.push_back(1);
  return radices;
}

// Accesses that wait for another one to the same bank, over all groups of neighbouring
// frequencies k and of their mirror images: a bank's width is a value's, and half a warp
// has as many values as there are banks.
int conflicts(const LineStages& plan, const std::vector<int>& position,
              const Padding& padding) {
  constexpr int kBanks = 16;
  int waits = 0;
  for (int first = 0; first <= plan.n / 2; first += kBanks) {
    std::array<int, kBanks> here{}, mirrored{};
    for (int k = first; k < std::min(first + kBanks, plan.n / 2 + 1); ++k) {
      const auto at = [&](int f) {
        return size_t(padding.place(position[size_t(f)]) % kBanks);
      };
      ++here[at(k)];
      ++mirrored[at((plan.n - k) % plan.n)];
    }
    waits += *std::max_element(here.begin(), here.end()) +
             *std::max_element(mirrored.begin(), mirrored.end());
  }
  return waits;
}

Padding best_padding(const LineStages& plan) {
  static std::mutex mutex;
  static std::map<std::pair<int, int>, Padding> known;  // of an extent and first radix
  const std::lock_guard lock(mutex);
  const auto [found, is_new] = known.try_emplace({plan.n, plan.stage[0].radix});
  if (!is_new) return found->second;
  const std::span stages(plan.stage, size_t(plan.count));
  std::vector<int> position;
  for (int k = 0; k < plan.n; ++k) position.push_back(int(digit_position(stages, k)));
  int least = std::numeric_limits<int>::max();
  for (const Padding& padding :
       {Padding{5, 31}, Padding{4, 31}, Padding{4, 8}, Padding{4, 6}, Padding{4, 7}}) {
    const int waits = conflicts(plan, position, padding);
    if (waits < least) found->second = padding;
    least = std::min(least, waits);
  }
  return found->second;
}

}  // namespace

bool has_line_plan(int64_t n) { return n >= 1 && n <= kLongestLine && is_smooth(n); }

LineStages line_stages(int64_t n, int largest_radix) {
  if (!has_line_plan(n)) {
    throw std::invalid_argument("line_stages: n must be 7-smooth and at most " +
                                std::to_string(kLongestLine) + ", got " +
                                std::to_string(n));
  }
  LineStages plan;
  plan.n = int(n);
  int groups = 1;
  for (int radix : radices_of(n, largest_radix)) {
    const int sub = plan.n / groups / radix;
    plan.stage[plan.count++] = {radix, groups, sub, plan.twiddles, Divider(sub)};
    plan.twiddles += (radix - 1) * sub;
    groups *= radix;
  }
  plan.padding = best_padding(plan);
  return plan;
}

template <class real_t>
std::string line_table(int64_t n) {
  const LineStages plan = line_stages(n, kLargestRadix<real_t>);
  const std::span stages(plan.stage, size_t(plan.count));
  std::string bytes(plan.twiddles * sizeof(Pair<real_t>) + size_t(n) * sizeof(int32_t),
                    '\0');
  auto append = [to = bytes.data()](const auto& value) mutable {
    to = std::copy_n(reinterpret_cast<const char*>(&value), sizeof(value), to);
  };
  for (const DeviceStage& s : stages) {
    for (int r = 1; r < s.radix; ++r) {
      for (int j = 0; j < s.sub; ++j) {
        const auto w = root(int64_t(j) * r, int64_t(s.radix) * s.sub);
        append(Pair<real_t>{real_t(w.real()), real_t(w.imag())});
      }
    }
  }
  for (int64_t k = 0; k < n; ++k) append(int32_t(digit_position(stages, k)));
  return bytes;
}

template std::string line_table<float>(int64_t);
template std::string line_table<double>(int64_t);

}  // namespace otfuse::cuda
