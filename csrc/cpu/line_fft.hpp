// SPDX-License-Identifier: BSD-3-Clause
// The stages of a line transform, L neighbouring lines at a time: each lane is one line, so a
// butterfly is plain arithmetic with broadcast twiddles. Forward stages decimate in frequency
// and leave digit-reversed order; inverse stages decimate in time, mirror them and take it from
// there; nothing is ever reordered. Inverse stages work on swapped values (see core/complex.hpp).
#pragma once

#include <stdexcept>

#include "cpu/line_plan.hpp"
#include "cpu/simd.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Complex lanes at base + index * stride. Elements from `limit` on are read from, or written to,
// one stand-in (zeros or a bin), which is how padding is pruned without a branch.
template <class real_t>
struct LineView {
  real_t* base;
  int64_t stride;
  int64_t limit;
  real_t* outside;

  OTFUSE_HD real_t* at(int64_t i) const { return i < limit ? base + i * stride : outside; }
};

template <class real_t>
LineView<real_t> contiguous_line(real_t* base, int64_t n) {
  return {base, 2 * Simd<real_t>::kLanes, n, nullptr};
}

template <bool kInverse, class real_t>
OTFUSE_HD Complex<Lanes<real_t>> load_for(const real_t* p) {
  const auto v = load_complex(p);
  return kInverse ? swapped(v) : v;
}

template <bool kInverse, class real_t>
OTFUSE_HD void store_for(real_t* p, const Complex<Lanes<real_t>>& v) {
  store_complex(p, kInverse ? swapped(v) : v);
}

template <int R, class real_t>
OTFUSE_HD void apply_twiddles(Complex<Lanes<real_t>>* v, const real_t* twiddles) {
  unroll<R - 1>([&](auto r) {
    v[r + 1] = multiply(v[r + 1], twiddles[2 * r], twiddles[2 * r + 1]);
  });
}

template <int R, bool kInverse, class real_t>
OTFUSE_NOINLINE void radix_stage(const LineView<real_t> from, const LineView<real_t> to,
                                 const LineStage<real_t>& stage, const real_t* twiddles) {
  const int64_t sub = stage.sub;
  for (int64_t g = 0; g < stage.groups; ++g) {
    for (int64_t j = 0; j < sub; ++j) {
      const int64_t first = g * R * sub + j;
      const real_t* w = twiddles + 2 * (R - 1) * j;
      Complex<Lanes<real_t>> v[R];
      unroll<R>([&](auto r) { v[r] = load_for<kInverse>(from.at(first + r * sub)); });
      if (kInverse && sub > 1) apply_twiddles<R>(v, w);
      Dft<R, real_t>::run(v);
      if (!kInverse && sub > 1) apply_twiddles<R>(v, w);
      unroll<R>([&](auto r) { store_for<kInverse>(to.at(first + r * sub), v[r]); });
    }
  }
}

// The last forward stage, the product with the OTF and the first inverse stage, in registers.
// `next` is the line that comes after this one: it is called into the cache meanwhile.
template <int R, bool kAdjoint, class real_t>
OTFUSE_NOINLINE void middle_stage(const LineView<real_t> from, const LineView<real_t> to,
                                  const LineView<real_t> next, int64_t groups,
                                  const real_t* otf) {
  constexpr int kStep = 2 * Simd<real_t>::kLanes;
  for (int64_t g = 0; g < groups; ++g) {
    Complex<Lanes<real_t>> v[R];
    unroll<R>([&](auto r) {
      v[r] = load_complex(from.at(g * R + r));
      const real_t* ahead = next.at(g * R + r);
      __builtin_prefetch(ahead, 0, 2);
      if constexpr (kStep * sizeof(real_t) > 64) __builtin_prefetch(ahead + kStep / 2, 0, 2);
    });
    Dft<R, real_t>::run(v);
    unroll<R>([&](auto r) {
      const auto h = load_complex(otf + (g * R + r) * kStep);
      v[r] = swapped(kAdjoint ? multiply_conj(v[r], h) : multiply(v[r], h));
    });
    Dft<R, real_t>::run(v);
    unroll<R>([&](auto r) { store_complex(to.at(g * R + r), swapped(v[r])); });
  }
}

// The last inverse stage, a pointwise operation on the line's values in natural order, and the
// first forward stage, in registers: both take the same R values.
template <int R, class real_t, class Op>
OTFUSE_NOINLINE void turn_stage(real_t* line, int64_t sub, const real_t* twiddles, Op& caller_op) {
  constexpr int kStep = 2 * Simd<real_t>::kLanes;
  Op op = caller_op;  // a copy that stores to the line cannot alias
  for (int64_t j = 0; j < sub; ++j) {
    real_t* first = line + j * kStep;
    const real_t* w = twiddles + 2 * (R - 1) * j;
    Complex<Lanes<real_t>> v[R];
    unroll<R>([&](auto r) { v[r] = swapped(load_complex(first + r * sub * kStep)); });
    apply_twiddles<R>(v, w);
    Dft<R, real_t>::run(v);
    unroll<R>([&](auto r) { v[r] = op(j + r * sub, swapped(v[r])); });
    Dft<R, real_t>::run(v);
    apply_twiddles<R>(v, w);
    unroll<R>([&](auto r) { store_complex(first + r * sub * kStep, v[r]); });
  }
  caller_op = op;
}

// f(Index<radix>)
template <class F>
void with_radix(int radix, F f) {
  switch (radix) {
    case 2: return f(Index<2>{});
    case 3: return f(Index<3>{});
    case 4: return f(Index<4>{});
    case 5: return f(Index<5>{});
    case 6: return f(Index<6>{});
    case 7: return f(Index<7>{});
    case 8: return f(Index<8>{});
    case 9: return f(Index<9>{});
    case 10: return f(Index<10>{});
    case 12: return f(Index<12>{});
    case 15: return f(Index<15>{});
    case 16: return f(Index<16>{});
    default: throw std::logic_error("with_radix: no butterfly for this radix");
  }
}

template <bool kInverse, class real_t>
void run_stage(const LinePlan<real_t>& plan, int64_t s, const LineView<real_t>& from,
               const LineView<real_t>& to) {
  const auto& stage = plan.stages[s];
  const real_t* twiddles = plan.twiddles.data() + stage.twiddle;
  with_radix(stage.radix, [&](auto radix) {
    radix_stage<decltype(radix)::value, kInverse>(from, to, stage, twiddles);
  });
}

template <class real_t>
void chirp_line(const LinePlan<real_t>& plan, bool inverse, const LineView<real_t>& from,
                const LineView<real_t>& to, real_t* scratch);

// Stages [first, last) of the forward transform; the first of them reads `from`, the last of them
// writes `to`, those between stay in `line`.
template <class real_t>
void forward_stages(const LinePlan<real_t>& plan, int64_t first, int64_t last,
                    const LineView<real_t>& from, const LineView<real_t>& line,
                    const LineView<real_t>& to) {
  for (int64_t s = first; s < last; ++s) {
    run_stage<false>(plan, s, s == first ? from : line, s == last - 1 ? to : line);
  }
}

// The same for the inverse, which runs the stages backwards: (last, first].
template <class real_t>
void inverse_stages(const LinePlan<real_t>& plan, int64_t first, int64_t last,
                    const LineView<real_t>& from, const LineView<real_t>& line,
                    const LineView<real_t>& to) {
  for (int64_t s = last - 1; s >= first; --s) {
    run_stage<true>(plan, s, s == last - 1 ? from : line, s == first ? to : line);
  }
}

template <class real_t>
void copy_line(int64_t n, const LineView<real_t>& from, const LineView<real_t>& to) {
  for (int64_t i = 0; i < n; ++i) store_complex(to.at(i), load_complex<real_t>(from.at(i)));
}

// A whole transform of a line that lies in `line`, contiguous; `from` and `to` may be that line.
template <class real_t>
void forward_line(const LinePlan<real_t>& plan, const LineView<real_t>& from,
                  const LineView<real_t>& line, const LineView<real_t>& to, real_t* scratch) {
  if (!plan.smooth()) return chirp_line(plan, false, from, to, scratch);
  if (plan.stages.empty()) return copy_line(plan.n, from, to);
  forward_stages(plan, 0, int64_t(plan.stages.size()), from, line, to);
}

template <class real_t>
void inverse_line(const LinePlan<real_t>& plan, const LineView<real_t>& from,
                  const LineView<real_t>& line, const LineView<real_t>& to, real_t* scratch) {
  if (!plan.smooth()) return chirp_line(plan, true, from, to, scratch);
  if (plan.stages.empty()) return copy_line(plan.n, from, to);
  inverse_stages(plan, 0, int64_t(plan.stages.size()), from, line, to);
}

// Bluestein: X[k] = c[k] sum_j (x[j] c[j]) conj(c[k - j]), c[j] = exp(-i pi j^2 / n); the sum is
// a circular convolution of a smooth extent >= 2 n - 1. `scratch` holds that extent.
template <class real_t>
void chirp_line(const LinePlan<real_t>& plan, bool inverse, const LineView<real_t>& from,
                const LineView<real_t>& to, real_t* scratch) {
  const LinePlan<real_t>& inner = *plan.chirp_plan;
  const auto line = contiguous_line(scratch, inner.n);
  const real_t* c = plan.chirp.data();
  for (int64_t j = 0; j < inner.n; ++j) {
    auto v = zero_complex<real_t>();
    if (j < plan.n) {
      v = load_complex<real_t>(from.at(j));
      v = multiply(inverse ? swapped(v) : v, c[2 * j], c[2 * j + 1]);
    }
    store_complex(line.at(j), v);
  }
  forward_line(inner, line, line, line, static_cast<real_t*>(nullptr));
  for (int64_t p = 0; p < inner.n; ++p) {
    const real_t* h = plan.chirp_otf.data() + 2 * p;
    store_complex(line.at(p), multiply(load_complex<real_t>(line.at(p)), h[0], h[1]));
  }
  inverse_line(inner, line, line, line, static_cast<real_t*>(nullptr));
  for (int64_t k = 0; k < plan.n; ++k) {
    const auto v = multiply(load_complex<real_t>(line.at(k)), c[2 * k], c[2 * k + 1]);
    store_complex(to.at(k), inverse ? swapped(v) : v);
  }
}

OTFUSE_END_ISA_NAMESPACE
