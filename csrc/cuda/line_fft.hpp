// SPDX-License-Identifier: BSD-3-Clause
// The stages of line transforms in shared memory; mirrors cpu/line_fft.hpp. Forward
// stages decimate in frequency and leave digit-reversed order, inverse stages take it
// from there, both in place, so one barrier a stage is enough. Inverse stages work on
// swapped values (core/complex.hpp).
//   c   a line of the tile       first + r sub   the values of a butterfly, 0 <= r < R
// The values of the first stage of all come from, and those of the last go to, wherever
// the caller says: from(c, i) -> Complex, to(c, i, Complex).
#pragma once

#include "core/butterfly.hpp"
#include "cuda/line_plan.hpp"

namespace otfuse::cuda {

template <class T>
OTFUSE_HD Complex<T> unpack(const Pair<T>& p) {
  return {p.re, p.im};
}

template <class T>
OTFUSE_HD Pair<T> pack(const Complex<T>& v) {
  return {v.re, v.im};
}

// f(Index<radix>) for the radices of cuda/line_plan.cpp.
template <class real_t, class F>
OTFUSE_HD void with_radix(int radix, F f) {
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
    case 10:
      if constexpr (kLargestRadix<real_t> >= 10) return f(Index<10>{});
      break;
    case 16:
      if constexpr (kLargestRadix<real_t> >= 16) return f(Index<16>{});
      break;
    default:
      return f(Index<1>{});
  }
}

// v times the twiddle of place r; w points at the butterfly's R - 1 twiddles.
template <class real_t, class R>
OTFUSE_HD Complex<real_t> twiddled(R, const Complex<real_t>& v, const Pair<real_t>* w) {
  if constexpr (R::value == 0) {
    return v;
  } else {
    return multiply(v, unpack(w[R::value - 1]));
  }
}

// Which thread takes which butterfly of which line. Neighbouring threads take
// neighbouring lines where those lie side by side (kLinesFirst), else neighbouring
// butterflies.
enum class Order { kLinesFirst, kButterfliesFirst };

struct Lines {
  int first, count;  // of the tile
  Divider by_count;
};

// f(c, first, j) for the butterflies of thread t; j tells which twiddles.
template <int kThreads, Order kOrder, int R, class F>
OTFUSE_HD void each_butterfly(int t, const Lines& lines, const LineStages& plan,
                              const DeviceStage& stage, F f) {
  const int per_line = plan.n / R;
  for (int u = t; u < lines.count * per_line; u += kThreads) {
    int c, g, j;
    if constexpr (kOrder == Order::kLinesFirst) {
      const int b = lines.by_count.quotient(u);
      c = u - b * lines.count;
      g = stage.by_sub.quotient(b);
      j = b - g * stage.sub;
    } else {  // the first stage only, which has one group
      c = stage.by_sub.quotient(u);
      g = 0;
      j = u - c * stage.sub;
    }
    f(lines.first + c, g * R * stage.sub + j, j);
  }
}

template <bool kInverse, int kThreads, Order kOrder, class real_t, class From, class To>
OTFUSE_HD void run_stage(int t, const Lines& lines, const LinePlan<real_t>& plan, int s,
                         From from, To to) {
  const DeviceStage& stage = plan.stage[s];
  with_radix<real_t>(stage.radix, [&](auto radix) {
    constexpr int R = decltype(radix)::value;
    each_butterfly<kThreads, kOrder, R>(
        t, lines, plan, stage, [&](int c, int first, int j) {
          const Pair<real_t>* w = plan.twiddle_table + stage.twiddle + (R - 1) * j;
          Dft<R, real_t>::template run<real_t>(
              [&](auto r) OTFUSE_LAMBDA {
                const Complex<real_t> v = from(c, first + r * stage.sub);
                return kInverse ? twiddled(r, swapped(v), w) : v;
              },
              [&](auto r, const Complex<real_t>& v) OTFUSE_LAMBDA {
                to(c, first + r * stage.sub, kInverse ? swapped(v) : twiddled(r, v, w));
              });
        });
  });
}

// The last forward stage, product(c, i, value) and the first inverse stage, in registers.
template <int kThreads, class real_t, class From, class To, class Product>
OTFUSE_HD void middle_stage(int t, const Lines& lines, const LinePlan<real_t>& plan,
                            From from, To to, Product product) {
  const DeviceStage& stage = plan.stage[plan.count - 1];
  with_radix<real_t>(stage.radix, [&](auto radix) {
    constexpr int R = decltype(radix)::value;
    each_butterfly<kThreads, Order::kLinesFirst, R>(
        t, lines, plan, stage, [&](int c, int first, int) {
          Complex<real_t> values[R];
          Dft<R, real_t>::template run<real_t>(
              [&](auto r) OTFUSE_LAMBDA { return from(c, first + r); },
              [&](auto r, const Complex<real_t>& v)
                  OTFUSE_LAMBDA { values[r] = swapped(product(c, first + r, v)); });
          Dft<R, real_t>::template run<real_t>(
              [&](auto r) OTFUSE_LAMBDA { return values[r]; },
              [&](auto r, const Complex<real_t>& v)
                  OTFUSE_LAMBDA { to(c, first + r, swapped(v)); });
        });
  });
}

// The last inverse stage, op(c, i, value) on the line's values in natural order, and the
// first forward stage, in registers.
template <int kThreads, class real_t, class From, class To, class Op>
OTFUSE_HD void turn_stage(int t, const Lines& lines, const LinePlan<real_t>& plan,
                          From from, To to, Op op) {
  const DeviceStage& stage = plan.stage[0];
  with_radix<real_t>(stage.radix, [&](auto radix) {
    constexpr int R = decltype(radix)::value;
    each_butterfly<kThreads, Order::kButterfliesFirst, R>(
        t, lines, plan, stage, [&](int c, int first, int j) {
          const Pair<real_t>* w = plan.twiddle_table + stage.twiddle + (R - 1) * j;
          Complex<real_t> values[R];
          Dft<R, real_t>::template run<real_t>(
              [&](auto r) OTFUSE_LAMBDA {
                return twiddled(r, swapped(from(c, first + r * stage.sub)), w);
              },
              [&](auto r, const Complex<real_t>& v) OTFUSE_LAMBDA {
                values[r] = op(c, first + r * stage.sub, swapped(v));
              });
          Dft<R, real_t>::template run<real_t>(
              [&](auto r) OTFUSE_LAMBDA { return values[r]; },
              [&](auto r, const Complex<real_t>& v)
                  OTFUSE_LAMBDA { to(c, first + r * stage.sub, twiddled(r, v, w)); });
        });
  });
}

}  // namespace otfuse::cuda
