// SPDX-License-Identifier: BSD-3-Clause
// Convolutions of few channels. A job is a tile of output rows, some columns wide, at
// every z: its input rows are staged once for each plane, with everything that changes
// them on the way (channels put side by side, the added channel, zeros beyond the edges,
// the transform of the rows), into lines that stay in the L2 cache; kernels read them
// from there and the sums are transformed back, activated and written once. A kernel of
// one pixel needs no stage: it reads the sources themselves.
#pragma once

#include <omp.h>

#include "cpu/thin_cut.hpp"
#include "cpu/workspace.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// One thread's part of the workspace, and the work that it does there.
template <class real_t>
class ThinWorker {
  static constexpr int kLanes = Simd<real_t>::kLanes;
  using V = Lanes<real_t>;

 public:
  ThinWorker(const ConvThinParams<real_t>& p, const ThinKernel<real_t>& k,
             const ThinCut<real_t>& cut, real_t* memory)
      : p_(p), k_(k), cut_(cut), sums_(memory), staged_(memory + kSums) {
    const auto whole = [](int64_t stride) { return stride % kLanes == 0; };
    const int64_t reals = k.channels_out * p.extent.count();
    direct_ = k.kernel.count() == 1 && p.added.data == nullptr && whole(p.extent.x) &&
              p.sources.size() <= size_t(kMostGroups);
    streamed_ = reals * int64_t(sizeof(real_t)) > kStreamedBytes && whole(p.extent.x) &&
                whole(p.out_channel_stride) && whole(p.out_batch_stride) &&
                reinterpret_cast<uintptr_t>(p.out) % kVectorBytes == 0;
  }

  static int64_t reals(const ThinKernel<real_t>& k, const ThinCut<real_t>& cut) {
    const int64_t folded = k.folded ? k.channels_out * cut.rows * cut.stride : 0;
    return kSums + k.kernel.z * cut.slot + folded + kLanes;
  }

  void run(int64_t batch, int64_t band, int64_t stripe) {
    batch_ = batch;
    y_ = band * cut_.rows;
    x_ = stripe * cut_.columns;
    for (int64_t z = 0; z < p_.extent.z; ++z) {
      if (k_.folded) {
        fold(z);
      } else {
        if (!direct_) stage_ahead(z);
        const int64_t rows = std::min(cut_.rows, p_.extent.y - y_);
        for (int64_t row = 0; row < rows; row += k_.tile) convolve(z, row);
      }
    }
    if (streamed_) end_streaming();
  }

 private:
  // Output above this is out of the caches again before the next layer reads it.
  static constexpr int64_t kStreamedBytes = 16 << 20;
  static constexpr int kSums =
      8 * (kWide ? 24 : 12) * kLanes;  // points x block of registers

  real_t* slot(int64_t z) const { return staged_ + z % k_.kernel.z * cut_.slot; }

  // Stages the last plane that plane z needs; the first time, all of them.
  void stage_ahead(int64_t z) {
    const int64_t nz = p_.extent.z, last = z + k_.kernel.z / 2;
    for (int64_t from = z == 0 ? 0 : last; from <= std::min(last, nz - 1); ++from) {
      stage_plane(from);
    }
    if (k_.points > 1 && nz == 1) fetch_next();
  }

  // Calls for the rows that the tile below this one is the first to read.
  void fetch_next() const {
    constexpr int64_t kLine = 64 / int64_t(sizeof(real_t));
    const Extents& n = p_.extent;
    const int64_t first = y_ + cut_.rows + k_.kernel.y / 2;
    const int64_t last = std::min(first + cut_.rows, n.y);
    for (const ThinSource<real_t>& source : p_.sources) {
      const real_t* plane = source.data + batch_ * source.batch_stride;
      for (int64_t c = 0; c < source.channels; ++c, plane += source.channel_stride) {
        for (int64_t y = first; y < last; ++y) {
          const real_t* row = plane + y * n.x + x_;
          for (int64_t x = 0; x < cut_.columns; x += kLine)
            __builtin_prefetch(row + x, 0, 2);
        }
      }
    }
  }

  void stage_plane(int64_t z) {
    real_t* to = slot(z);
    const int64_t first = y_ - k_.kernel.y / 2;
    if (k_.points == 6) return stage<6>(z, first, to);
    if (k_.points == 8) return stage<8>(z, first, to);
    const int64_t line = k_.channels_in * cut_.stride;
    for (int64_t i = 0; i < cut_.lines; ++i) stage<1>(z, first + i, to + i * line);
  }

  // kPoints rows from `first` on, of every channel.
  template <int kPoints>
  void stage(int64_t z, int64_t first, real_t* to) {
    const int64_t plane = p_.extent.y * p_.extent.x;
    const real_t* added[kPoints] = {};
    if (p_.added.data != nullptr) {
      rows_of(p_.added.data + batch_ * p_.added.batch_stride + z * plane, first, kPoints,
              added);
    }
    for (const ThinSource<real_t>& source : p_.sources) {
      const real_t* from = source.data + batch_ * source.batch_stride + z * plane;
      for (int64_t c = 0; c < source.channels; ++c, to += cut_.stride) {
        const real_t* rows[kPoints];
        rows_of(from + c * source.channel_stride, first, kPoints, rows);
        stage_channel<kPoints>(rows, added, to);
      }
    }
  }

  void rows_of(const real_t* plane, int64_t first, int count, const real_t** rows) const {
    for (int i = 0; i < count; ++i) {
      const int64_t y = first + i;
      rows[i] = y < 0 || y >= p_.extent.y ? nullptr : plane + y * p_.extent.x;
    }
  }

  template <int kPoints>
  OTFUSE_KERNEL void stage_channel(const real_t* const* rows, const real_t* const* added,
                                   real_t* to) const {
    const int64_t nx = p_.extent.x, first = x_ - cut_.pad;
    bool inside = true;
    for (int r = 0; r < kPoints; ++r) inside &= rows[r] != nullptr;
    // Columns of whole vectors inside the image need no care.
    const int64_t begin =
        std::min(ThinCut<real_t>::round_up(std::max<int64_t>(0, -first)), cut_.width);
    const int64_t whole = inside ? (nx - first - begin) / kLanes * kLanes : 0;
    const int64_t end = std::clamp(begin + whole, begin, cut_.width);
    const auto clipped = [&](const real_t* row, int64_t i) OTFUSE_LAMBDA {
      return row == nullptr ? V{} : load_clipped(row, first + i, nx);
    };
    const auto straight = [&](const real_t* row, int64_t i)
                              OTFUSE_LAMBDA { return load_unaligned(row + first + i); };
    stage_columns<kPoints>(0, begin, rows, added, to, clipped);
    stage_columns<kPoints>(begin, end, rows, added, to, straight);
    stage_columns<kPoints>(end, cut_.width, rows, added, to, clipped);
  }

  template <int kPoints, class Load>
  OTFUSE_HD void stage_columns(int64_t begin, int64_t end, const real_t* const* rows,
                               const real_t* const* added, real_t* to, Load load) const {
    const int64_t line = k_.channels_in * cut_.stride;
    for (int64_t i = begin; i < end; i += kLanes) {
      V d[kPoints], t[kPoints];
      unroll<kPoints>([&](auto r) OTFUSE_LAMBDA { d[r] = load(rows[r], i); });
      if (p_.added.data != nullptr) {
        unroll<kPoints>([&](auto r) OTFUSE_LAMBDA { d[r] += load(added[r], i); });
      }
      if constexpr (kPoints == 1) {
        t[0] = d[0];
      } else {
        filter_input<kPoints, real_t>(d, t);
      }
      unroll<kPoints>([&](auto r)
                          OTFUSE_LAMBDA { store_aligned(to + r * line + i, t[r]); });
    }
  }

  // f(block, x, vectors) for pieces of a row that fit the registers, x from the stripe
  // on.
  template <class F>
  void each_piece(F f) const {
    const int64_t columns = std::min(cut_.columns, p_.extent.x - x_);
    const int64_t vectors = ceil_div(columns, kLanes);
    for (const ThinChannels& block : k_.blocks) {
      const int64_t most = most_vectors(block.width);
      const int64_t pieces = ceil_div(vectors, most);
      for (int64_t i = 0; i < pieces; ++i) {
        const int64_t begin = vectors * i / pieces, end = vectors * (i + 1) / pieces;
        f(block, begin * kLanes, int(end - begin));
      }
    }
  }

  // A tile of output rows, `row` below the band's first.
  void convolve(int64_t z, int64_t row) {
    each_piece([&](const ThinChannels& block, int64_t x, int vectors) {
      if (direct_) {
        multiply_sources(block, z, row, x, vectors);
      } else {
        multiply(block, z, row, x, vectors);
      }
      const Piece piece{block, z, y_ + row, x_ + x, vectors};
      if (k_.points == 1) finish<1, 1>(piece);
      if (k_.points == 6) finish<6, 4>(piece);
      if (k_.points == 8) finish<8, 4>(piece);
    });
  }

  // A kernel of one pixel reads the sources where they are.
  void multiply_sources(const ThinChannels& block, int64_t z, int64_t row, int64_t x,
                        int vectors) {
    const Extents& n = p_.extent;
    const real_t* weight = k_.weights(block, 0, 0);
    ThinTaps<real_t> taps;
    taps.width = 1;
    for (const ThinSource<real_t>& source : p_.sources) {
      const real_t* from = source.data + batch_ * source.batch_stride;
      taps.group[taps.groups++] = {from + (z * n.y + y_ + row) * n.x + x_, weight,
                                   source.channels, source.channel_stride};
      weight += source.channels * block.width;
    }
    thin_block(block.width, taps, x, vectors, sums_);
  }

  void multiply(const ThinChannels& block, int64_t z, int64_t row, int64_t x,
                int vectors) {
    const Extents& kernel = k_.kernel;
    const int64_t line = k_.channels_in * cut_.stride, rows = k_.groups() / kernel.z;
    ThinTaps<real_t> taps;
    taps.width = kernel.x;
    for (int point = 0; point < k_.points; ++point) {
      taps.groups = 0;
      for (int64_t dz = 0; dz < kernel.z; ++dz) {
        const int64_t from = z + dz - kernel.z / 2;
        if (from < 0 || from >= p_.extent.z) continue;
        const real_t* lines = slot(from) + cut_.pad - kernel.x / 2;
        for (int64_t dy = 0; dy < rows; ++dy) {
          taps.group[taps.groups++] = {lines + (k_.points == 1 ? row + dy : point) * line,
                                       k_.weights(block, point, dz * rows + dy),
                                       k_.channels_in, cut_.stride};
        }
      }
      real_t* sums = sums_ + point * block.width * vectors * kLanes;
      thin_block(block.width, taps, x, vectors, sums);
    }
  }

  // Rows of the kernel as channels: a row of input is staged once and its sums are added
  // to all rows of output that it reaches.
  void fold(int64_t z) {
    const int64_t rows = std::min(cut_.rows, p_.extent.y - y_);
    real_t* const out = staged_ + cut_.slot;  // (channel, row, columns)
    std::fill_n(out, k_.channels_out * cut_.rows * cut_.stride, real_t(0));
    for (int64_t i = 0; i < rows + k_.kernel.y - 1; ++i) {
      const int64_t y = y_ + i - k_.kernel.y / 2;
      if (y < 0 || y >= p_.extent.y) continue;
      stage<1>(z, y, slot(0));
      each_piece([&](const ThinChannels& block, int64_t x, int vectors) {
        ThinTaps<real_t> taps;
        taps.group[0] = {slot(0) + cut_.pad - k_.kernel.x / 2, k_.weights(block, 0, 0),
                         k_.channels_in, cut_.stride};
        taps.groups = 1;
        taps.width = k_.kernel.x;
        thin_block(block.width, taps, x, vectors, sums_);
        for (int c = 0; c < block.valid; ++c) {
          const int64_t channel = (block.first + c) / k_.kernel.y;
          const int64_t row = i - (block.first + c) % k_.kernel.y;
          if (row < 0 || row >= rows) continue;
          add_sums(sums_ + c * vectors * kLanes, vectors,
                   out + (channel * cut_.rows + row) * cut_.stride + x);
        }
      });
    }
    finish_folded(z, out, rows);
  }

  static void add_sums(const real_t* sums, int vectors, real_t* to) {
    for (int i = 0; i < vectors * kLanes; i += kLanes) {
      store_aligned(to + i, load_aligned(to + i) + load_aligned(sums + i));
    }
  }

  void finish_folded(int64_t z, const real_t* sums, int64_t rows) const {
    const Extents& n = p_.extent;
    const int64_t columns = std::min(cut_.columns, n.x - x_);
    for (int64_t channel = 0; channel < k_.channels_out; ++channel) {
      const Finish made = finish_of(channel, z, y_);
      for (int64_t row = 0; row < rows; ++row) {
        const real_t* from = sums + (channel * cut_.rows + row) * cut_.stride;
        for (int64_t x = 0; x < columns; x += kLanes) {
          made(row * n.x, x_ + x, n.x, load_aligned(from + x));
        }
      }
    }
  }

  // What happens to the sums of a channel, from row y of plane z on.
  struct Finish {
    V bias;
    Activation activation;
    const real_t* start;
    real_t* out;
    bool streamed;

    OTFUSE_HD void operator()(int64_t row, int64_t x, int64_t nx, V sum) const {
      sum += bias;
      if (start != nullptr) sum += load_clipped(start + row, x, nx);
      const V value = activate<real_t>(activation, sum);
      if (streamed) return store_streaming(out + row + x, value);
      store_clipped(out + row, x, nx, value);
    }
  };

  Finish finish_of(int64_t channel, int64_t z, int64_t y) const {
    const int64_t at = (z * p_.extent.y + y) * p_.extent.x;
    const real_t* start = p_.start.data;
    if (start != nullptr) {
      start += batch_ * p_.start.batch_stride + channel * p_.start.channel_stride + at;
    }
    return {broadcast(p_.bias == nullptr ? real_t(0) : p_.bias[channel]),
            channel < p_.activated ? p_.activation : Activation::kNone, start,
            p_.out + batch_ * p_.out_batch_stride + channel * p_.out_channel_stride + at,
            streamed_};
  }

  struct Piece {
    const ThinChannels& block;
    int64_t z, y, x;
    int vectors;
  };

  template <int kPoints, int kTile>
  OTFUSE_KERNEL void finish(const Piece& piece) const {
    const Extents& n = p_.extent;
    const int64_t step = piece.block.width * piece.vectors * kLanes;
    const int64_t rows = std::min<int64_t>(kTile, n.y - piece.y);
    for (int c = 0; c < piece.block.valid; ++c) {
      const Finish made = finish_of(piece.block.first + c, piece.z, piece.y);
      for (int i = 0; i < piece.vectors; ++i) {
        const real_t* at = sums_ + (c * piece.vectors + i) * kLanes;
        V m[kPoints], y[kTile];
        unroll<kPoints>([&](auto p)
                            OTFUSE_LAMBDA { m[p] = load_aligned(at + p * step); });
        if constexpr (kPoints == 1) {
          y[0] = m[0];
        } else {
          filter_output<kPoints, kTile, real_t>(m, y);
        }
        unroll<kTile>([&](auto row) OTFUSE_LAMBDA {
          if (row < rows) made(row * n.x, piece.x + i * kLanes, n.x, y[row]);
        });
      }
    }
  }

  const ConvThinParams<real_t>& p_;
  const ThinKernel<real_t>& k_;
  const ThinCut<real_t>& cut_;
  real_t *sums_, *staged_;
  bool direct_;    // the sources are read where they are, without staging
  bool streamed_;  // the output goes past the caches
  int64_t batch_ = 0, y_ = 0, x_ = 0;
};

template <class real_t>
void conv_thin(const ConvThinParams<real_t>& p) {
  if (p.batch * p.extent.count() == 0) return;
  const ThinKernel<real_t> kernel(p.weight, p.channels_in, p.channels_out, p.kernel,
                                  p.extent.y);
  const ThinCut<real_t> cut(kernel, p.extent);
  const int64_t jobs = p.batch * cut.bands * cut.stripes;
  const int threads = int(std::clamp<int64_t>(jobs, 1, p.threads));
  const int64_t each = ThinWorker<real_t>::reals(kernel, cut);
  const Workspace workspace(size_t(threads * each) * sizeof(real_t));
#pragma omp parallel num_threads(threads)
  {
    ThinWorker<real_t> worker(
        p, kernel, cut,
        static_cast<real_t*>(workspace.data()) + omp_get_thread_num() * each);
#pragma omp for schedule(dynamic)
    for (int64_t job = 0; job < jobs; ++job) {
      const int64_t band = job / cut.stripes;
      worker.run(band / cut.bands, band % cut.bands, job % cut.stripes);
    }
  }
}

OTFUSE_END_ISA_NAMESPACE
