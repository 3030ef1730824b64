// SPDX-License-Identifier: BSD-3-Clause
// Transforms along x: a block takes some pairs of rows, each pair as real and imaginary
// part of one complex line of nx values, which serves even and odd extents alike.
//   kEnter   rows -> half spectrum     kLeave   half spectrum -> rows
//   kTurn    half spectrum -> rows, an operation on them, -> half spectrum, unless `last`
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

inline constexpr int kSumGroups = 16;  // partial sums are added up in two steps

// The sums of a block's threads, always in the same order; behind them room for the
// groups'.
template <int kThreads, class Block>
OTFUSE_HD void add_up(Block& block, double* sums, double* total) {
  block.phase([&](int t) OTFUSE_PHASE {
    if (t >= kSumGroups) return;
    double sum = 0;
    for (int i = t; i < kThreads; i += kSumGroups) sum += sums[i];
    sums[kThreads + t] = sum;
  });
  block.phase([&](int t) OTFUSE_PHASE {
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
  bool last;  // of a turn: what comes out of it is not transformed any more
  Stored* spectrum;
  Gains<real_t> gains;
  double* partial;  // (item, groups): what Op adds up; none: not wanted

  OTFUSE_HD int64_t pairs() const { return planes * ((rows + 1) / 2); }
  OTFUSE_HD int64_t groups() const { return (pairs() + lines - 1) / lines; }
  int64_t blocks(int64_t batch) const { return groups() * batch; }
  int64_t shared_bytes() const {
    int64_t bytes = lines * (tile_pitch * sizeof(Pair<real_t>) + sizeof(Line));
    if constexpr (kMode == RowMode::kTurn) {
      if (partial != nullptr) bytes += (kThreads + kSumGroups) * sizeof(double);
    }
    return bytes;
  }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const int64_t item = block.index / groups(), group = block.index % groups();
    const bool tail = group == groups() - 1;
    const Lines all{0, tail ? tail_lines : lines, tail ? by_tail_lines : by_lines};
    const Work work = work_of(block.shared(), item);
    block.phase([&](int t) OTFUSE_PHASE {
      if (t < all.count) set_line(work.line[t], item, group * lines + t);
    });
    if constexpr (kMode != RowMode::kEnter) {
      block.phase([&](int t) OTFUSE_PHASE { gather(t, all, work); });
      OTFUSE_ROLLED
      for (int s = plan.count - 1; s > 0; --s) {
        block.phase([&](int t) OTFUSE_PHASE { inner_stage<true>(t, all, work, s); });
      }
    }
    block.phase([&](int t) OTFUSE_PHASE { outer_stage(t, all, work); });
    if (kMode != RowMode::kLeave && !last) {
      OTFUSE_ROLLED
      for (int s = 1; s < plan.count; ++s) {
        block.phase([&](int t) OTFUSE_PHASE { inner_stage<false>(t, all, work, s); });
      }
      block.phase([&](int t) OTFUSE_PHASE { scatter(t, all, work); });
    }
    if constexpr (kMode == RowMode::kTurn) {
      if (Op::kAddsUp && partial != nullptr) {
        add_up<kThreads>(block, work.sum, partial + block.index);
      }
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
    Padding padding;
    real_t load_gain, store_gain;

    OTFUSE_HD Pair<real_t>& at(int c, int i) const {
      return tile[c * pitch + padding.place(i)];
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
            plan.padding,
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

  // A line of the tile, with padding.
  struct Row {
    Pair<real_t>* values;
    Padding padding;

    OTFUSE_HD Pair<real_t>& at(int i) const { return values[padding.place(i)]; }
  };
  struct PlacedRow : Row {
    typename Op::Place place;
  };

  OTFUSE_HD static Row row_of(const Work& work, int c) {
    return {work.tile + c * work.pitch, work.padding};
  }

  template <bool kInverse>
  OTFUSE_HD void inner_stage(int t, const Lines& all, const Work& work, int s) const {
    run_stage<kInverse, kThreads, Order::kLinesFirst>(
        t, all, plan, s, [&](int c) { return row_of(work, c); },
        [](const Row& row, int i) OTFUSE_LAMBDA { return unpack(row.at(i)); },
        [](const Row& row, int i, const C& v) OTFUSE_LAMBDA { row.at(i) = pack(v); });
  }

  // An operation on the values of rows, for turn_stage.
  struct Turn {
    const Op& op;
    double& sum;

    OTFUSE_HD C fetch(const PlacedRow& row, int i) const {
      return op.fetch(row.place, i);
    }
    OTFUSE_HD C turn(const PlacedRow& row, int i, const C& v, const C& held) const {
      return op.turn(row.place, i, v, held, sum);
    }
  };

  // The stage next to the rows' values: theirs is the natural order.
  OTFUSE_HD void outer_stage(int t, const Lines& all, const Work& work) const {
    const auto placed = [&](int c) {
      return PlacedRow{row_of(work, c), work.line[c].place};
    };
    const auto load = [](const PlacedRow& row, int i)
                          OTFUSE_LAMBDA { return unpack(row.at(i)); };
    const auto store = [](const PlacedRow& row, int i, const C& v)
                           OTFUSE_LAMBDA { row.at(i) = pack(v); };
    if constexpr (kMode == RowMode::kEnter) {
      run_stage<false, kThreads, Order::kButterfliesFirst>(
          t, all, plan, 0, placed,
          [&](const PlacedRow& row, int i)
              OTFUSE_LAMBDA { return op.enter(row.place, i); },
          store);
    } else if constexpr (kMode == RowMode::kLeave) {
      run_stage<true, kThreads, Order::kButterfliesFirst>(
          t, all, plan, 0, placed, load,
          [&](const PlacedRow& row, int i, const C& v)
              OTFUSE_LAMBDA { op.leave(row.place, i, v); });
    } else {
      double sum = 0;
      turn_stage<kThreads>(t, all, plan, placed, load, store, Turn{op, sum});
      if (Op::kAddsUp && partial != nullptr) work.sum[t] = sum;
    }
  }
};

}  // namespace otfuse::cuda
