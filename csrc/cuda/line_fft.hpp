// SPDX-License-Identifier: BSD-3-Clause
// The stages of line transforms in shared memory; mirrors cpu/line_fft.hpp. Forward
// stages decimate in frequency and leave digit-reversed order, inverse stages take it
// from there, both in place, so one barrier a stage is enough. Inverse stages work on
// swapped values (core/complex.hpp).
//   c   a line of the tile       first + r sub   the values of a butterfly, 0 <= r < R
// Values come from and go to wherever the caller says: line_of(c) is asked once for each
// butterfly, so that what belongs to its line waits in registers; then from(line, i) ->
// Complex and to(line, i, Complex).
#pragma once

#include "core/butterfly.hpp"
#include "core/phases.hpp"
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

// Twiddles of one butterfly; those of neighbouring butterflies lie side by side.
template <class real_t>
struct Twiddles {
  const Pair<real_t>* first;
  int distance;

  OTFUSE_HD Twiddles(const LinePlan<real_t>& plan, const DeviceStage& stage, int j)
      : first(plan.twiddle_table + stage.twiddle + j), distance(stage.sub) {}

  // v times the twiddle of place r
  template <class R>
  OTFUSE_HD Complex<real_t> times(R, const Complex<real_t>& v) const {
    if constexpr (R::value == 0) {
      return v;
    } else {
      return multiply(v, unpack(first[(R::value - 1) * distance]));
    }
  }
};

// The same number, which the compiler no longer knows: it then computes the places of a
// butterfly anew for the stores instead of keeping those of the loads in registers.
OTFUSE_HD int anew(int v) {
#if defined(__CUDA_ARCH__)
  asm volatile("" : "+r"(v));
#endif
  return v;
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
  OTFUSE_ROLLED
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

template <bool kInverse, int kThreads, Order kOrder, class real_t, class LineOf,
          class From, class To>
OTFUSE_HD void run_stage(int t, const Lines& lines, const LinePlan<real_t>& plan, int s,
                         LineOf line_of, From from, To to) {
  const DeviceStage& stage = plan.stage[s];
  with_radix<real_t>(stage.radix, [&](auto radix) {
    constexpr int R = decltype(radix)::value;
    each_butterfly<kThreads, kOrder, R>(
        t, lines, plan, stage, [&](int c, int first, int j) {
          const Twiddles<real_t> w(plan, stage, j);
          const auto line = line_of(c), line_out = line_of(anew(c));
          const int first_out = anew(first);
          Dft<R, real_t>::template run<real_t>(
              [&](auto r) OTFUSE_LAMBDA {
                const Complex<real_t> v = from(line, first + r * stage.sub);
                return kInverse ? w.times(r, swapped(v)) : v;
              },
              [&](auto r, const Complex<real_t>& v) OTFUSE_LAMBDA {
                to(line_out, first_out + r * stage.sub,
                   kInverse ? swapped(v) : w.times(r, v));
              });
        });
  });
}

// The last forward stage, product(line, i, value) and the first inverse stage, in
// registers.
template <int kThreads, class real_t, class LineOf, class From, class To, class Product>
OTFUSE_HD void middle_stage(int t, const Lines& lines, const LinePlan<real_t>& plan,
                            LineOf line_of, From from, To to, Product product) {
  const DeviceStage& stage = plan.stage[plan.count - 1];
  with_radix<real_t>(stage.radix, [&](auto radix) {
    constexpr int R = decltype(radix)::value;
    each_butterfly<kThreads, Order::kLinesFirst, R>(
        t, lines, plan, stage, [&](int c, int first, int) {
          const auto line = line_of(c), line_out = line_of(anew(c));
          const int first_out = anew(first);
          Complex<real_t> values[R];
          Dft<R, real_t>::template run<real_t>(
              [&](auto r) OTFUSE_LAMBDA { return from(line, first + r); },
              [&](auto r, const Complex<real_t>& v)
                  OTFUSE_LAMBDA { values[r] = swapped(product(line, first + r, v)); });
          Dft<R, real_t>::template run<real_t>(
              [&](auto r) OTFUSE_LAMBDA { return values[r]; },
              [&](auto r, const Complex<real_t>& v)
                  OTFUSE_LAMBDA { to(line_out, first_out + r, swapped(v)); });
        });
  });
}

// The last inverse stage, op.turn(line, i, value, held) on the line's values in natural
// order, and the first forward stage, in registers. What op.fetch(line, i) holds is asked
// for first, so that its way from memory overlaps the butterfly.
template <int kThreads, class real_t, class LineOf, class From, class To, class Op>
OTFUSE_HD void turn_stage(int t, const Lines& lines, const LinePlan<real_t>& plan,
                          LineOf line_of, From from, To to, Op op) {
  const DeviceStage& stage = plan.stage[0];
  with_radix<real_t>(stage.radix, [&](auto radix) {
    constexpr int R = decltype(radix)::value;
    each_butterfly<kThreads, Order::kButterfliesFirst, R>(
        t, lines, plan, stage, [&](int c, int first, int j) {
          const Twiddles<real_t> w(plan, stage, j);
          const auto line = line_of(c), line_op = line_of(anew(c));
          const int first_op = anew(first), first_out = anew(first);
          Complex<real_t> held[R], values[R];
          unroll<R>([&](auto r) OTFUSE_LAMBDA {
            held[r] = op.fetch(line, first + r * stage.sub);
          });
          Dft<R, real_t>::template run<real_t>(
              [&](auto r) OTFUSE_LAMBDA {
                return w.times(r, swapped(from(line, first + r * stage.sub)));
              },
              [&](auto r, const Complex<real_t>& v) OTFUSE_LAMBDA {
                values[r] =
                    op.turn(line_op, first_op + r * stage.sub, swapped(v), held[r]);
              });
          Dft<R, real_t>::template run<real_t>(
              [&](auto r) OTFUSE_LAMBDA { return values[r]; },
              [&](auto r, const Complex<real_t>& v) OTFUSE_LAMBDA {
                to(line_op, first_out + r * stage.sub, w.times(r, v));
              });
        });
  });
}

}  // namespace otfuse::cuda
