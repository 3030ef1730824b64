// SPDX-License-Identifier: BSD-3-Clause
// Transforms along x: a block takes some pairs of rows, each pair as real and imaginary
// part of one complex line of nx values, which serves even and odd extents alike.
//   kEnter   rows -> half spectrum     kLeave   half spectrum -> rows
//   kTurn    half spectrum -> rows, an operation on them, -> half spectrum
// With Z the transform of a + i b: 2 A[k] = Z[k] + conj Z[-k], 2 i B[k] = Z[k] - conj
// Z[-k]; the factor 2 is left in and the OTF undoes it. Half spectra are (item, nz, ny,
// pitch). Device memory: 8 bytes a complex value and way in float32, and what the
// operation takes.
#pragma once

#include "core/phases.hpp"
#include "cuda/half.hpp"
#include "cuda/line_fft.hpp"
#include "cuda/row_ops.hpp"

namespace otfuse::cuda {

enum class RowMode { kEnter, kLeave, kTurn };

// What spectra in half precision are multiplied by when they are loaded and stored, for
// each item also by its level, or divided by it.
template <class real_t>
struct Gains {
  real_t load = 1, store = 1;
  const real_t *load_level = nullptr, *store_level = nullptr;  // (batch); null: 1
};

// A pad after every 32 values and an odd distance between lines: neither digit-reversed
// places nor neighbouring lines then share banks.
OTFUSE_HD int padded_place(int i) { return i + (i >> 5); }
inline int line_pitch(int n) { return padded_place(n) | 1; }

inline constexpr int kSumGroups = 16;  // partial sums are added up in two steps

// The sums of a block's threads, always in the same order; behind them room for the
// groups'.
template <int kThreads, class Block>
OTFUSE_HD void add_up(Block& block, double* sums, double* total) {
  block.phase([&](int t) {
    if (t >= kSumGroups) return;
    double sum = 0;
    for (int i = t; i < kThreads; i += kSumGroups) sum += sums[i];
    sums[kThreads + t] = sum;
  });
  block.phase([&](int t) {
    if (t != 0) return;
    double sum = 0;
    for (int i = 0; i < kSumGroups; ++i) sum += sums[kThreads + i];
    *total = sum;
  });
}

template <class real_t, class Stored, class Op, RowMode kMode>
struct RowPass {
  static constexpr int kThreads = 256;
  // A turn holds a butterfly of values and its operation: 128 registers.
  static constexpr int kBlocksPerMultiprocessor =
      sizeof(real_t) == 4 && kMode != RowMode::kTurn ? 3 : 2;

  LinePlan<real_t> plan;
  Op op;
  int64_t planes, rows;  // of an item that hold something, or are wanted
  int64_t grid_y, grid_z;
  int64_t pitch;
  int kx_count;
  Divider by_kx_count;
  int lines, tail_lines;  // pairs of a block, and of the last block of an item
  Divider by_lines, by_tail_lines;
  int tile_pitch;
  Stored* spectrum;
  Gains<real_t> gains;
  double* partial;  // (item, groups), where Op adds up

  OTFUSE_HD int64_t pairs() const { return planes * ((rows + 1) / 2); }
  OTFUSE_HD int64_t groups() const { return (pairs() + lines - 1) / lines; }
  int64_t blocks(int64_t batch) const { return groups() * batch; }
  int64_t shared_bytes() const {
    int64_t bytes = lines * (tile_pitch * sizeof(Pair<real_t>) + sizeof(Line));
    if constexpr (kMode == RowMode::kTurn) {
      if (Op::kAddsUp) bytes += (kThreads + kSumGroups) * sizeof(double);
    }
    return bytes;
  }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const int64_t item = block.index / groups(), group = block.index % groups();
    const bool tail = group == groups() - 1;
    const Lines all{0, tail ? tail_lines : lines, tail ? by_tail_lines : by_lines};
    const Work work = work_of(block.shared(), item);
    block.phase([&](int t) {
      if (t < all.count) set_line(work.line[t], item, group * lines + t);
    });
    const int last = plan.count - 1;
    if constexpr (kMode != RowMode::kEnter) {
      block.phase([&](int t) { gather(t, all, work); });
      for (int s = last; s > 0; --s) {
        block.phase([&](int t) { inner_stage<true>(t, all, work, s); });
      }
    }
    block.phase([&](int t) { outer_stage(t, all, work); });
    if constexpr (kMode != RowMode::kLeave) {
      for (int s = 1; s <= last; ++s) {
        block.phase([&](int t) { inner_stage<false>(t, all, work, s); });
      }
      block.phase([&](int t) { scatter(t, all, work); });
    }
    if constexpr (kMode == RowMode::kTurn) {
      if constexpr (Op::kAddsUp) add_up<kThreads>(block, work.sum, partial + block.index);
    }
  }

 private:
  using C = Complex<real_t>;

  struct Line {
    int64_t row;  // of the half spectrum, the first of the pair
    typename Op::Place place;
    bool second;
  };

  struct Work {
    Pair<real_t>* tile;  // [line][value]
    Line* line;
    double* sum;  // [thread], then [group]
    int pitch;
    real_t load_gain, store_gain;

    OTFUSE_HD Pair<real_t>& at(int c, int i) const {
      return tile[c * pitch + padded_place(i)];
    }
  };

  OTFUSE_HD Work work_of(std::byte* shared, int64_t item) const {
    std::byte* const behind = shared + lines * tile_pitch * sizeof(Pair<real_t>);
    const real_t by = gains.load_level == nullptr ? real_t(1) : gains.load_level[item];
    const real_t over =
        gains.store_level == nullptr ? real_t(1) : gains.store_level[item];
    return {reinterpret_cast<Pair<real_t>*>(shared),
            reinterpret_cast<Line*>(behind),
            reinterpret_cast<double*>(behind + lines * sizeof(Line)),
            tile_pitch,
            gains.load * by,
            gains.store / over};
  }

  OTFUSE_HD static C load(const Stored& from, real_t gain) {
    const C v = unpack(from);
    return Packing<Stored>::kHalf ? C{v.re * gain, v.im * gain} : v;
  }
  OTFUSE_HD static Stored store(const C& v, real_t gain) {
    return Packing<Stored>::pack(Packing<Stored>::kHalf ? C{v.re * gain, v.im * gain}
                                                        : v);
  }

  OTFUSE_HD void set_line(Line& line, int64_t item, int64_t pair) const {
    const int64_t in_plane = (rows + 1) / 2;
    const int64_t z = pair / in_plane, y = 2 * (pair % in_plane);
    const bool second = y + 1 < rows;
    line = {((item * grid_z + z) * grid_y + y) * pitch, op.place(item, z, y, second),
            second};
  }

  // f(c, k) for the frequencies of thread t
  template <class F>
  OTFUSE_HD void each_frequency(int t, const Lines& all, F f) const {
    for (int u = t; u < all.count * kx_count; u += kThreads) {
      const int c = by_kx_count.quotient(u);
      f(c, u - c * kx_count);
    }
  }

  // Half spectra of the pair to the spectrum of its complex line.
  OTFUSE_HD void gather(int t, const Lines& all, const Work& work) const {
    each_frequency(t, all, [&](int c, int k) {
      const Stored* from = spectrum + work.line[c].row + k;
      const real_t gain = work.load_gain;
      const C a = load(from[0], gain);
      const C b = work.line[c].second ? load(from[pitch], gain) : C{0, 0};
      work.at(c, plan.position[k]) = {a.re - b.im, a.im + b.re};
      const int mirror = k == 0 ? 0 : plan.n - k;
      if (mirror != k) work.at(c, plan.position[mirror]) = {a.re + b.im, b.re - a.im};
    });
  }

  OTFUSE_HD void scatter(int t, const Lines& all, const Work& work) const {
    each_frequency(t, all, [&](int c, int k) {
      const C a = unpack(work.at(c, plan.position[k]));
      const C b = unpack(work.at(c, plan.position[k == 0 ? 0 : plan.n - k]));
      Stored* to = spectrum + work.line[c].row + k;
      const real_t gain = work.store_gain;
      to[0] = store({a.re + b.re, a.im - b.im}, gain);
      if (work.line[c].second) to[pitch] = store({a.im + b.im, b.re - a.re}, gain);
    });
  }

  template <bool kInverse>
  OTFUSE_HD void inner_stage(int t, const Lines& all, const Work& work, int s) const {
    run_stage<kInverse, kThreads, Order::kLinesFirst>(
        t, all, plan, s,
        [&](int c, int i) OTFUSE_LAMBDA { return unpack(work.at(c, i)); },
        [&](int c, int i, const C& v) OTFUSE_LAMBDA { work.at(c, i) = pack(v); });
  }

  // The stage next to the rows' values: theirs is the natural order.
  OTFUSE_HD void outer_stage(int t, const Lines& all, const Work& work) const {
    const auto load = [&](int c, int i) OTFUSE_LAMBDA { return unpack(work.at(c, i)); };
    const auto store = [&](int c, int i, const C& v)
                           OTFUSE_LAMBDA { work.at(c, i) = pack(v); };
    if constexpr (kMode == RowMode::kEnter) {
      run_stage<false, kThreads, Order::kButterfliesFirst>(
          t, all, plan, 0,
          [&](int c, int i) OTFUSE_LAMBDA { return op.enter(work.line[c].place, i); },
          store);
    } else if constexpr (kMode == RowMode::kLeave) {
      run_stage<true, kThreads, Order::kButterfliesFirst>(
          t, all, plan, 0, load, [&](int c, int i, const C& v) OTFUSE_LAMBDA {
            op.leave(work.line[c].place, i, v);
          });
    } else {
      double sum = 0;
      turn_stage<kThreads>(t, all, plan, load, store,
                           [&](int c, int i, const C& v) OTFUSE_LAMBDA {
                             return op.turn(work.line[c].place, i, v, sum);
                           });
      if constexpr (Op::kAddsUp) work.sum[t] = sum;
    }
  }
};

}  // namespace otfuse::cuda
