// SPDX-License-Identifier: BSD-3-Clause
// The stages of a line transform, L neighbouring lines at a time: each lane is one line,
// so a butterfly is plain arithmetic with broadcast twiddles. Forward stages decimate in
// frequency and leave digit-reversed order; inverse stages decimate in time, mirror them
// and take it from there; nothing is ever reordered. Inverse stages work on swapped
// values (see core/complex.hpp).
#pragma once

#include <stdexcept>

#include "cpu/line_plan.hpp"
#include "cpu/simd.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Complex lanes at base + index * stride. Elements from `limit` on are read from, or
// written to, one stand-in (zeros or a bin), which is how padding is pruned without a
// branch.
template <class real_t>
struct LineView {
  real_t* base;
  int64_t stride;
  int64_t limit;
  real_t* outside;
  int64_t ahead = 0;  // distance of the line that comes after this one; 0: none is known

  OTFUSE_HD real_t* at(int64_t i) const {
    return i < limit ? base + i * stride : outside;
  }
};

template <class real_t>
LineView<real_t> contiguous_line(real_t* base, int64_t n) {
  return {base, 2 * Simd<real_t>::kLanes, n, nullptr, 0};
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

// v times the twiddle of place r of a butterfly; w points at the butterfly's R - 1
// twiddles.
template <class real_t, class R>
OTFUSE_HD Complex<Lanes<real_t>> twiddled([[maybe_unused]] R r,
                                          const Complex<Lanes<real_t>>& v,
                                          const real_t* w) {
  constexpr int k = R::value;
  if constexpr (k == 0) {
    return v;
  } else {
    return multiply(v, w[2 * k - 2], w[2 * k - 1]);
  }
}

template <int R, bool kInverse, bool kTwiddles, class real_t, class From, class To>
OTFUSE_HD void radix_pass(const From& from, const To& to, int64_t groups, int64_t sub,
                          const real_t* twiddles, int64_t ahead) {
  using V = Lanes<real_t>;
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t j = 0; j < sub; ++j) {
      const int64_t first = g * R * sub + j;
      const real_t* w = twiddles + 2 * (R - 1) * j;
      Dft<R, real_t>::template run<V>(
          [&](auto r) OTFUSE_LAMBDA {
            const real_t* p = from(first + r * sub);
            if (ahead != 0) prefetch_complex(p + ahead);
            const auto v = load_for<kInverse, real_t>(p);
            return kInverse && kTwiddles ? twiddled(r, v, w) : v;
          },
          [&](auto r, const Complex<V>& v) OTFUSE_LAMBDA {
            const auto out = !kInverse && kTwiddles ? twiddled(r, v, w) : v;
            store_for<kInverse>(to(first + r * sub), out);
          });
    }
  }
}

template <int R, bool kInverse, class real_t>
OTFUSE_KERNEL void radix_stage(const LineView<real_t> from, const LineView<real_t> to,
                               const LineStage<real_t>& stage, int64_t groups,
                               const real_t* twiddles) {
  const auto whole_from = [&](int64_t i)
                              OTFUSE_LAMBDA { return from.base + i * from.stride; };
  const auto whole_to = [&](int64_t i) OTFUSE_LAMBDA { return to.base + i * to.stride; };
  const auto part_from = [&](int64_t i) OTFUSE_LAMBDA { return from.at(i); };
  const auto part_to = [&](int64_t i) OTFUSE_LAMBDA { return to.at(i); };
  const int64_t sub = stage.sub, n = groups * R * sub;
  if (from.limit < n || to.limit < n) {
    radix_pass<R, kInverse, true, real_t>(part_from, part_to, groups, sub, twiddles, 0);
  } else if (sub == 1) {
    radix_pass<R, kInverse, false, real_t>(whole_from, whole_to, groups, sub, twiddles,
                                           from.ahead);
  } else {
    radix_pass<R, kInverse, true, real_t>(whole_from, whole_to, groups, sub, twiddles, 0);
  }
}

// The last forward stage, the product with the OTF and the first inverse stage, in
// registers. `next` is the line that comes after this one: it is called into the cache
// meanwhile.
template <int R, bool kAdjoint, class real_t>
OTFUSE_KERNEL void middle_stage(const LineView<real_t> from, const LineView<real_t> to,
                                const LineView<real_t> next, int64_t groups,
                                const real_t* otf) {
  using V = Lanes<real_t>;
  constexpr int kStep = 2 * Simd<real_t>::kLanes;
  for (int64_t g = 0; g < groups; ++g) {
    Complex<V> product[R];
    Dft<R, real_t>::template run<V>(
        [&](auto r) OTFUSE_LAMBDA {
          prefetch_complex(next.at(g * R + r));
          return load_complex<real_t>(from.at(g * R + r));
        },
        [&](auto r, const Complex<V>& v) OTFUSE_LAMBDA {
          const auto h = load_complex(otf + (g * R + r) * kStep);
          product[r] = swapped(kAdjoint ? multiply_conj(v, h) : multiply(v, h));
        });
    Dft<R, real_t>::template run<V>([&](auto r) OTFUSE_LAMBDA { return product[r]; },
                                    [&](auto r, const Complex<V>& v) OTFUSE_LAMBDA {
                                      store_complex(to.at(g * R + r), swapped(v));
                                    });
  }
}

// How a pointwise operation stands to a line's frequencies: its values come out of them,
// go into them, or both.
enum class Way { kOut, kIn, kBoth };

// The last inverse stage, a pointwise operation on the line's values in natural order,
// and the first forward stage, in registers: both take the same R values. With kOut and
// kIn one of the stages is left out, and the operation keeps or makes the values.
template <int R, Way kWay, class real_t, class Op>
OTFUSE_KERNEL void turn_stage(real_t* line, int64_t sub, const real_t* twiddles,
                              Op& caller_op) {
  using V = Lanes<real_t>;
  constexpr int kStep = 2 * Simd<real_t>::kLanes;
  Op op = caller_op;  // a copy that stores to the line cannot alias
  for (int64_t j = 0; j < sub; ++j) {
    real_t* first = line + j * kStep;
    const real_t* w = twiddles + 2 * (R - 1) * j;
    Complex<V> values[R];
    if constexpr (kWay == Way::kIn) {
      unroll<R>([&](auto r) OTFUSE_LAMBDA {
        values[r] = op(j + r * sub, zero_complex<real_t>());
      });
    } else {
      Dft<R, real_t>::template run<V>(
          [&](auto r) OTFUSE_LAMBDA {
            return twiddled(r, swapped(load_complex<real_t>(first + r * sub * kStep)), w);
          },
          [&](auto r, const Complex<V>& v)
              OTFUSE_LAMBDA { values[r] = op(j + r * sub, swapped(v)); });
    }
    if constexpr (kWay == Way::kOut) continue;
    Dft<R, real_t>::template run<V>(
        [&](auto r) OTFUSE_LAMBDA { return values[r]; },
        [&](auto r, const Complex<V>& v)
            OTFUSE_LAMBDA { store_complex(first + r * sub * kStep, twiddled(r, v, w)); });
  }
  caller_op = op;
}

// f(Index<radix>); the largest butterflies exist where there are registers for them.
template <class F>
void with_radix(int radix, F f) {
  if constexpr (kWide) {
    if (radix == 12) return f(Index<12>{});
    if (radix == 15) return f(Index<15>{});
    if (radix == 16) return f(Index<16>{});
  }
  switch (radix) {
    case 2:
      return f(Index<2>{});
    case 3:
      return f(Index<3>{});
    case 4:
      return f(Index<4>{});
    case 5:
      return f(Index<5>{});
    case 6:
      return f(Index<6>{});
    case 7:
      return f(Index<7>{});
    case 8:
      return f(Index<8>{});
    case 9:
      return f(Index<9>{});
    case 10:
      return f(Index<10>{});
    default:
      throw std::logic_error("with_radix: no butterfly for this radix");
  }
}

// `groups` butterfly groups of stage s; views start at the first of them.
template <bool kInverse, class real_t>
void run_stage(const LinePlan<real_t>& plan, int64_t s, int64_t groups,
               const LineView<real_t>& from, const LineView<real_t>& to) {
  const auto& stage = plan.stages[s];
  const real_t* twiddles = plan.twiddles.data() + stage.twiddle;
  with_radix(stage.radix, [&](auto radix) {
    radix_stage<decltype(radix)::value, kInverse>(from, to, stage, groups, twiddles);
  });
}

// The first stage splits a line into independent sub-lines. A line too long for the L1
// cache is finished sub-line by sub-line, so that only that stage goes through the L2
// cache.
template <class real_t>
struct SubLines {
  static constexpr int kStep = 2 * Simd<real_t>::kLanes;
  static constexpr int64_t kCacheBytes = 24 << 10;
  int64_t count = 1, extent;

  explicit SubLines(const LinePlan<real_t>& plan) : extent(plan.n) {
    if (plan.stages.size() < 2 || plan.n * kStep * int64_t(sizeof(real_t)) <= kCacheBytes)
      return;
    count = plan.stages[0].radix;
    extent = plan.stages[0].sub;
  }

  LineView<real_t> of(const LineView<real_t>& line, int64_t i) const {
    return {line.base + i * extent * line.stride, line.stride, extent, line.outside,
            line.ahead};
  }
};

template <class real_t>
void chirp_line(const LinePlan<real_t>& plan, bool inverse, const LineView<real_t>& from,
                const LineView<real_t>& to, real_t* scratch);

// Stages 1 to last of the forward transform, in place, and the same of the inverse,
// backwards.
template <class real_t>
void forward_rest(const LinePlan<real_t>& plan, int64_t last, int64_t sub_lines,
                  const LineView<real_t>& line) {
  for (int64_t s = 1; s < last; ++s) {
    run_stage<false>(plan, s, plan.stages[s].groups / sub_lines, line, line);
  }
}

template <class real_t>
void inverse_rest(const LinePlan<real_t>& plan, int64_t last, int64_t sub_lines,
                  const LineView<real_t>& line) {
  for (int64_t s = last - 1; s >= 1; --s) {
    run_stage<true>(plan, s, plan.stages[s].groups / sub_lines, line, line);
  }
}

template <class real_t>
void copy_line(int64_t n, const LineView<real_t>& from, const LineView<real_t>& to) {
  for (int64_t i = 0; i < n; ++i)
    store_complex(to.at(i), load_complex<real_t>(from.at(i)));
}

// A whole transform into, or out of, a contiguous line; `from` and `to` may be that line.
template <class real_t>
void forward_line(const LinePlan<real_t>& plan, const LineView<real_t>& from,
                  const LineView<real_t>& line, real_t* scratch) {
  if (!plan.smooth()) return chirp_line(plan, false, from, line, scratch);
  if (plan.stages.empty()) return copy_line(plan.n, from, line);
  const SubLines<real_t> sub(plan);
  run_stage<false>(plan, 0, 1, from, line);
  for (int64_t i = 0; i < sub.count; ++i) {
    forward_rest(plan, int64_t(plan.stages.size()), sub.count, sub.of(line, i));
  }
}

template <class real_t>
void inverse_line(const LinePlan<real_t>& plan, const LineView<real_t>& line,
                  const LineView<real_t>& to, real_t* scratch) {
  if (!plan.smooth()) return chirp_line(plan, true, line, to, scratch);
  if (plan.stages.empty()) return copy_line(plan.n, line, to);
  const SubLines<real_t> sub(plan);
  for (int64_t i = 0; i < sub.count; ++i) {
    inverse_rest(plan, int64_t(plan.stages.size()), sub.count, sub.of(line, i));
  }
  run_stage<true>(plan, 0, 1, line, to);
}

// Bluestein: X[k] = c[k] sum_j (x[j] c[j]) conj(c[k - j]), c[j] = exp(-i pi j^2 / n); the
// sum is a circular convolution of a smooth extent >= 2 n - 1. `scratch` holds that
// extent.
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
  forward_line(inner, line, line, static_cast<real_t*>(nullptr));
  for (int64_t p = 0; p < inner.n; ++p) {
    const real_t* h = plan.chirp_otf.data() + 2 * p;
    store_complex(line.at(p), multiply(load_complex<real_t>(line.at(p)), h[0], h[1]));
  }
  inverse_line(inner, line, line, static_cast<real_t*>(nullptr));
  for (int64_t k = 0; k < plan.n; ++k) {
    const auto v = multiply(load_complex<real_t>(line.at(k)), c[2 * k], c[2 * k + 1]);
    store_complex(to.at(k), inverse ? swapped(v) : v);
  }
}

OTFUSE_END_ISA_NAMESPACE
