// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/line_plan.hpp"

#include <array>
#include <limits>
#include <map>

#include "core/digits.hpp"

namespace otfuse {
namespace {

struct RadixCost {
  int radix;
  double wide, narrow;  // one stage, per value, relative; narrow sets have 16 registers
};

// A stage costs its trip through the cache and its arithmetic; radices above 8 spill
// where there are 16 registers, and the largest are not built there (with_radix in
// cpu/line_fft.hpp).
constexpr double kNone = std::numeric_limits<double>::infinity();
constexpr std::array<RadixCost, 12> kRadices = {{{16, 2.0, kNone},
                                                 {15, 2.4, kNone},
                                                 {12, 2.0, kNone},
                                                 {10, 2.1, 2.7},
                                                 {9, 2.1, 2.7},
                                                 {8, 1.6, 1.7},
                                                 {7, 2.1, 2.4},
                                                 {6, 1.6, 1.6},
                                                 {5, 1.7, 1.7},
                                                 {4, 1.3, 1.3},
                                                 {3, 1.4, 1.4},
                                                 {2, 1.2, 1.2}}};

struct Factors {
  double cost = 0;
  std::vector<int> radices;
};

// The cheapest ordered product; large radices first, so that the last stages, whose
// sub-extents are short, are the ones that stay in registers.
Factors factorise(int64_t n, bool wide, std::map<int64_t, Factors>& known) {
  if (n == 1) return {};
  if (auto it = known.find(n); it != known.end()) return it->second;
  Factors best;
  best.cost = kNone;
  for (const RadixCost& r : kRadices) {
    if (n % r.radix != 0) continue;
    Factors rest = factorise(n / r.radix, wide, known);
    const double cost = rest.cost + (wide ? r.wide : r.narrow);
    if (cost < best.cost) {
      best.cost = cost;
      best.radices = std::move(rest.radices);
      best.radices.insert(best.radices.begin(), r.radix);
    }
  }
  known[n] = best;
  return best;
}

Factors factorise(int64_t n, bool wide) {
  std::map<int64_t, Factors> known;
  return factorise(n, wide, known);
}

template <class real_t>
void add_stage(LinePlan<real_t>& plan, int radix, int64_t groups, int64_t sub) {
  plan.stages.push_back({radix, groups, sub, int64_t(plan.twiddles.size())});
  for (int64_t j = 0; j < sub; ++j) {
    for (int r = 1; r < radix; ++r) {
      const auto w = root(j * r, radix * sub);
      plan.twiddles.push_back(real_t(w.real()));
      plan.twiddles.push_back(real_t(w.imag()));
    }
  }
}

template <class real_t>
void add_positions(LinePlan<real_t>& plan) {
  plan.position.resize(plan.n);
  plan.mirror.resize(plan.n);
  for (int64_t k = 0; k < plan.n; ++k)
    plan.position[k] = int32_t(digit_position(plan.stages, k));
  for (int64_t k = 0; k < plan.n; ++k) {
    plan.mirror[plan.position[k]] = plan.position[(plan.n - k) % plan.n];
  }
}

// A plain recursive transform in double, for tables only.
std::vector<std::complex<double>> transform(const std::vector<std::complex<double>>& x) {
  const int64_t n = int64_t(x.size());
  if (n == 1) return x;
  int64_t p = 2;
  while (n % p != 0) ++p;
  const int64_t m = n / p;
  std::vector<std::vector<std::complex<double>>> parts(p);
  for (int64_t r = 0; r < p; ++r) {
    std::vector<std::complex<double>> part(m);
    for (int64_t j = 0; j < m; ++j) part[j] = x[j * p + r];
    parts[r] = transform(part);
  }
  std::vector<std::complex<double>> out(n);
  for (int64_t k = 0; k < n; ++k) {
    for (int64_t r = 0; r < p; ++r) out[k] += root(k * r, n) * parts[r][k % m];
  }
  return out;
}

template <class real_t>
void add_chirp(LinePlan<real_t>& plan, bool wide) {
  const int64_t n = plan.n, m = next_fast_extent(2 * n - 1, wide);
  plan.chirp_plan = std::make_unique<LinePlan<real_t>>(make_line_plan<real_t>(m, wide));
  std::vector<std::complex<double>> kernel(m);
  for (int64_t j = 0; j < n; ++j) {
    const auto c = root(j * j, 2 * n);  // j^2 modulo 2 n, so large j stay exact
    plan.chirp.push_back(real_t(c.real()));
    plan.chirp.push_back(real_t(c.imag()));
    kernel[j] = kernel[(m - j) % m] = std::conj(c);
  }
  const auto spectrum = transform(kernel);
  plan.chirp_otf.resize(2 * m);
  for (int64_t k = 0; k < m; ++k) {
    const int64_t p = plan.chirp_plan->position[k];
    plan.chirp_otf[2 * p] = real_t(spectrum[k].real() / double(m));
    plan.chirp_otf[2 * p + 1] = real_t(spectrum[k].imag() / double(m));
  }
}

}  // namespace

int64_t next_fast_extent(int64_t n, bool wide) {
  int64_t best = 0;
  double best_cost = kNone;
  // Beyond a quarter more, the memory outweighs any saving in arithmetic.
  for (int64_t m = n; best == 0 || m <= n + n / 4; ++m) {
    if (!is_smooth(m)) continue;
    // A line also costs its share of the passes over memory, whatever its factors.
    constexpr double kMemory = 4.0;
    const double cost = double(m) * (factorise(m, wide).cost + kMemory);
    if (cost < best_cost) {
      best_cost = cost;
      best = m;
    }
  }
  return best;
}

template <class real_t>
LinePlan<real_t> make_line_plan(int64_t n, bool wide) {
  LinePlan<real_t> plan;
  plan.n = n;
  if (is_smooth(n)) {
    int64_t groups = 1;
    for (int radix : factorise(n, wide).radices) {
      add_stage(plan, radix, groups, n / groups / radix);
      groups *= radix;
    }
  } else {
    add_chirp(plan, wide);
  }
  add_positions(
      plan);  // a chirp line has no stages: its frequencies are in natural order
  if (!plan.smooth()) {
    for (int64_t k = 0; k < n; ++k) {
      plan.position[k] = int32_t(k);
      plan.mirror[k] = int32_t((n - k) % n);
    }
  }
  return plan;
}

template LinePlan<float> make_line_plan<float>(int64_t, bool);
template LinePlan<double> make_line_plan<double>(int64_t, bool);

}  // namespace otfuse
