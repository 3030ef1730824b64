// SPDX-License-Identifier: BSD-3-Clause
// Transforms along y or z, in place: a block takes some neighbouring columns of the
// spectrum,
//   kForward    F            kInverse    F^-1            kConvolve    F, times the OTF,
//   F^-1
// Spectrum and OTF are (item, nz, ny, pitch), complex; y and z frequencies in
// digit-reversed order, kx in natural order, columns from nx / 2 + 1 to the pitch unused.
// The first stage reads and the last one writes device memory: 16 bytes per complex value
// and pass in float32, and 8 of the OTF. Values beyond the limits count as zero, or are
// not wanted.
#pragma once

#include "core/params.hpp"
#include "core/phases.hpp"
#include "cuda/half.hpp"
#include "cuda/line_fft.hpp"

namespace otfuse::cuda {

enum class ColumnMode { kForward, kInverse, kConvolve };

// One kernel for all modes: apart they would be compiled for twice as long.
template <class real_t, class Stored>
struct ColumnPass {
  static constexpr int kThreads = 256;
  static constexpr int kBlocksPerMultiprocessor = sizeof(real_t) == 4 ? 3 : 2;

  ColumnMode mode;
  LinePlan<real_t> plan;
  int limit_in, limit_out;  // values of a column that hold something; that are wanted
  int64_t stride;           // from one value of a column to the next
  int64_t columns;          // side by side in a slab
  int64_t pitch, kx_count;  // columns c with c % pitch < kx_count are in use
  int64_t slabs, slab_stride, item_stride;
  int lines;  // columns of a block
  Divider by_lines;
  Stored* spectrum;
  const Pair<real_t>* otf;  // kConvolve only, in the same layout
  KernelIndex kernel;
  bool adjoint;
  real_t scale;  // of what is stored

  int64_t tiles() const { return (columns + lines - 1) / lines; }
  int64_t blocks(int64_t batch) const { return tiles() * slabs * batch; }
  int64_t shared_bytes() const {
    return lines * (plan.n * int64_t(sizeof(Pair<real_t>)) + int64_t(sizeof(int64_t)));
  }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const int64_t tile_count = (columns + lines - 1) / lines;
    const int64_t tile_index = block.index % tile_count;
    const int64_t slab = block.index / tile_count % slabs;
    const int64_t item = block.index / tile_count / slabs;
    const int64_t base = item * item_stride + slab * slab_stride;
    const Work work{
        reinterpret_cast<Pair<real_t>*>(block.shared()),
        reinterpret_cast<int64_t*>(block.shared() +
                                   lines * plan.n * sizeof(Pair<real_t>)),
        spectrum + base,
        mode == ColumnMode::kConvolve ? otf + kernel.of(item) * item_stride : nullptr};
    block.phase([&](int t) OTFUSE_PHASE {
      if (t >= lines) return;
      const int64_t c = tile_index * lines + t;
      work.column[t] = c < columns && c % pitch < kx_count ? c : -1;
    });
    const Lines all{0, lines, by_lines};
    const int last = plan.count - 1;
    const int forward = mode == ColumnMode::kForward    ? plan.count
                        : mode == ColumnMode::kConvolve ? last
                                                        : 0;
    const int inverse = mode == ColumnMode::kInverse ? plan.count : last;
    OTFUSE_ROLLED
    for (int s = 0; s < forward; ++s) {
      block.phase([&](int t)
                      OTFUSE_PHASE { stage<false>(t, all, work, s, s == 0, s == last); });
    }
    if (mode == ColumnMode::kForward) return;
    if (mode == ColumnMode::kConvolve) {
      block.phase([&](int t) OTFUSE_PHASE { middle(t, all, work, last == 0); });
    }
    OTFUSE_ROLLED
    for (int s = inverse - 1; s >= 0; --s) {
      block.phase([&](int t)
                      OTFUSE_PHASE { stage<true>(t, all, work, s, s == last, s == 0); });
    }
  }

 private:
  using C = Complex<real_t>;

  // What a block works on.
  struct Work {
    Pair<real_t>* tile;  // [value][line]
    int64_t* column;     // its place in the slab; -1: unused
    Stored* values;
    const Pair<real_t>* transfer;
  };

  // One column of it.
  struct Column {
    Pair<real_t>* tile;  // its first value; the next one is `lines` on
    Stored* values;
    const Pair<real_t>* transfer;
    bool used;
  };

  OTFUSE_HD Column column_of(const Work& work, int c) const {
    const bool used = work.column[c] >= 0;
    const int64_t place = used ? work.column[c] : 0;
    Column column{work.tile + c, work.values + place, nullptr, used};
    if (mode == ColumnMode::kConvolve) column.transfer = work.transfer + place;
    return column;
  }

  OTFUSE_HD C load(const Column& column, int i, bool outside) const {
    if (!outside) return unpack(column.tile[i * lines]);
    if (i >= limit_in || !column.used) return {real_t(0), real_t(0)};
    return unpack(column.values[i * stride]);
  }

  OTFUSE_HD void store(const Column& column, int i, const C& v, bool outside) const {
    if (!outside) {
      column.tile[i * lines] = pack(v);
    } else if (i < limit_out && column.used) {
      column.values[i * stride] = Packing<Stored>::pack({v.re * scale, v.im * scale});
    }
  }

  OTFUSE_HD C product(const Column& column, int i, const C& v) const {
    if (!column.used) return v;
    const C h = unpack(column.transfer[i * stride]);
    return adjoint ? multiply_conj(v, h) : multiply(v, h);
  }

  template <bool kInverse>
  OTFUSE_HD void stage(int t, const Lines& all, const Work& work, int s, bool enters,
                       bool leaves) const {
    run_stage<kInverse, kThreads, Order::kLinesFirst>(
        t, all, plan, s, [&](int c) { return column_of(work, c); },
        [&](const Column& column, int i)
            OTFUSE_LAMBDA { return load(column, i, enters); },
        [&](const Column& column, int i, const C& v)
            OTFUSE_LAMBDA { store(column, i, v, leaves); });
  }

  OTFUSE_HD void middle(int t, const Lines& all, const Work& work, bool alone) const {
    middle_stage<kThreads>(
        t, all, plan, [&](int c) { return column_of(work, c); },
        [&](const Column& column, int i) OTFUSE_LAMBDA { return load(column, i, alone); },
        [&](const Column& column, int i, const C& v)
            OTFUSE_LAMBDA { store(column, i, v, alone); },
        [&](const Column& column, int i, const C& v)
            OTFUSE_LAMBDA { return product(column, i, v); });
  }
};

// Columns (or pairs of rows) of n values that a block takes: 128-byte rows of memory
// where three such blocks fit a multiprocessor, no less than 32 bytes as long as one
// does.
template <class real_t>
int lines_of_block(int64_t n, const Limits& limits) {
  const int64_t line = n * int64_t(sizeof(Pair<real_t>));
  constexpr int64_t kReserve = 4 << 10;  // what a block keeps besides its tile
  int lines = int(128 / sizeof(Pair<real_t>));
  const int sector = int(32 / sizeof(Pair<real_t>));
  while (lines > sector && lines * line > limits.shared_bytes / 3 - kReserve) lines /= 2;
  while (lines > 1 && lines * line > limits.shared_bytes - kReserve) lines /= 2;
  return lines;
}

}  // namespace otfuse::cuda
