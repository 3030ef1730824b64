// SPDX-License-Identifier: BSD-3-Clause
// Convolutions of few channels. A job is a tile of output rows, some columns wide, at
// every z: its input rows are staged once for each plane, with everything that changes
// them on the way (channels put side by side, the added channel, zeros beyond the edges,
// the transform of the rows), into lines that stay in the L2 cache; kernels read them
// from there and the sums are transformed back, activated and written once.
#pragma once

#include <omp.h>

#include "core/activation.hpp"
#include "cpu/engine.hpp"
#include "cpu/softplus.hpp"
#include "cpu/thin_kernel.hpp"
#include "cpu/workspace.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class real_t>
Lanes<real_t> load_clipped(const real_t* row, int64_t x, int64_t nx) {
  constexpr int kLanes = Simd<real_t>::kLanes;
  if (x >= 0 && x + kLanes <= nx) return load_unaligned(row + x);
  real_t part[kLanes] = {};
  for (int64_t i = std::max<int64_t>(0, -x); i < std::min<int64_t>(kLanes, nx - x); ++i) {
    part[i] = row[x + i];
  }
  return load_unaligned(part);
}

template <class real_t>
void store_clipped(real_t* row, int64_t x, int64_t nx, const Lanes<real_t>& v) {
  constexpr int kLanes = Simd<real_t>::kLanes;
  if (x + kLanes <= nx) return store_unaligned(row + x, v);
  real_t part[kLanes];
  store_unaligned(part, v);
  for (int64_t i = 0; i < nx - x; ++i) row[x + i] = part[i];
}

template <class real_t>
Lanes<real_t> activate(Activation activation, const Lanes<real_t>& v) {
  if (activation == Activation::kRelu) return relu(v);
  if (activation == Activation::kSoftplus) return softplus_of_lanes<real_t>(v);
  return v;
}

// How the image is cut into jobs and how a job's lines lie.
template <class real_t>
struct ThinCut {
  static constexpr int kLanes = Simd<real_t>::kLanes;
  static constexpr int64_t kWidest = 384, kColumns = 256;  // lines stay in the L2 cache
  static constexpr int64_t kBandBytes = 1 << 18;

  int64_t columns, pad, stride;  // of a line: the columns, whole lanes on either side
  int64_t rows, lines;           // output rows of a job and lines staged for a plane
  int64_t bands, stripes;        // jobs in y and in x
  int64_t slot;                  // reals of one plane's lines

  ThinCut(const ThinKernel<real_t>& k, const Extents& n) {
    columns = n.x <= kWidest ? n.x : kColumns;
    pad = round_up(k.kernel.x / 2);
    stride = (round_up(columns) + 2 * pad) / kLanes;
    stride =
        (stride | 1) * kLanes;  // odd: lines that follow each other share no cache set
    rows = k.tile;
    if (k.points == 1) {
      const int64_t line = k.channels_in * stride * int64_t(sizeof(real_t));
      rows = std::clamp(kBandBytes / (line * k.kernel.z), std::min(k.kernel.y, n.y), n.y);
    }
    lines = k.points == 1 ? rows + k.kernel.y - 1 : k.points;
    bands = (n.y + rows - 1) / rows;
    stripes = (n.x + columns - 1) / columns;
    slot = lines * k.channels_in * stride;
  }

  static int64_t round_up(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }
};

// One thread's part of the workspace, and the work that it does there.
template <class real_t>
class ThinWorker {
  static constexpr int kLanes = Simd<real_t>::kLanes;
  using V = Lanes<real_t>;

 public:
  ThinWorker(const ConvThinParams<real_t>& p, const ThinKernel<real_t>& k,
             const ThinCut<real_t>& cut, real_t* memory)
      : p_(p), k_(k), cut_(cut), sums_(memory), staged_(memory + kSums) {}

  static int64_t reals(const ThinKernel<real_t>& k, const ThinCut<real_t>& cut) {
    return kSums + k.kernel.z * cut.slot + kLanes;
  }

  void run(int64_t batch, int64_t band, int64_t stripe) {
    batch_ = batch;
    y_ = band * cut_.rows;
    x_ = stripe * cut_.columns;
    const int64_t nz = p_.extent.z, ahead = k_.kernel.z / 2;
    for (int64_t z = 0; z < std::min(ahead, nz); ++z) stage_plane(z);
    for (int64_t z = 0; z < nz; ++z) {
      if (z + ahead < nz) stage_plane(z + ahead);
      const int64_t rows = std::min(cut_.rows, p_.extent.y - y_);
      for (int64_t row = 0; row < rows; row += k_.tile) convolve(z, row);
    }
  }

 private:
  static constexpr int kSums =
      8 * (kWide ? 24 : 12) * kLanes;  // points x block of registers

  real_t* slot(int64_t z) const { return staged_ + z % k_.kernel.z * cut_.slot; }

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
        std::min(ThinCut<real_t>::round_up(std::max<int64_t>(0, -first)), cut_.stride);
    const int64_t whole = inside ? (nx - first - begin) / kLanes * kLanes : 0;
    const int64_t end = std::clamp(begin + whole, begin, cut_.stride);
    const auto clipped = [&](const real_t* row, int64_t i) OTFUSE_LAMBDA {
      return row == nullptr ? V{} : load_clipped(row, first + i, nx);
    };
    const auto straight = [&](const real_t* row, int64_t i)
                              OTFUSE_LAMBDA { return load_unaligned(row + first + i); };
    stage_columns<kPoints>(0, begin, rows, added, to, clipped);
    stage_columns<kPoints>(begin, end, rows, added, to, straight);
    stage_columns<kPoints>(end, cut_.stride, rows, added, to, clipped);
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

  // A tile of output rows, `row` below the band's first.
  void convolve(int64_t z, int64_t row) {
    const int64_t columns = std::min(cut_.columns, p_.extent.x - x_);
    const int64_t vectors = (columns + kLanes - 1) / kLanes;
    for (const ThinChannels& block : k_.blocks) {
      const int64_t most = most_vectors(block.width);
      const int64_t pieces = (vectors + most - 1) / most;
      for (int64_t i = 0; i < pieces; ++i) {
        const int64_t begin = vectors * i / pieces, end = vectors * (i + 1) / pieces;
        multiply(block, z, row, begin * kLanes, int(end - begin));
        const Piece piece{block, z, y_ + row, x_ + begin * kLanes, int(end - begin)};
        if (k_.points == 1) finish<1, 1>(piece);
        if (k_.points == 6) finish<6, 4>(piece);
        if (k_.points == 8) finish<8, 4>(piece);
      }
    }
  }

  void multiply(const ThinChannels& block, int64_t z, int64_t row, int64_t x,
                int vectors) {
    const Extents& kernel = k_.kernel;
    const int64_t line = k_.channels_in * cut_.stride, rows = k_.groups() / kernel.z;
    ThinTaps<real_t> taps;
    taps.channels = k_.channels_in;
    taps.stride = cut_.stride;
    taps.width = kernel.x;
    for (int point = 0; point < k_.points; ++point) {
      taps.groups = 0;
      for (int64_t dz = 0; dz < kernel.z; ++dz) {
        const int64_t from = z + dz - kernel.z / 2;
        if (from < 0 || from >= p_.extent.z) continue;
        const real_t* lines = slot(from) + cut_.pad - kernel.x / 2;
        for (int64_t dy = 0; dy < rows; ++dy) {
          taps.input[taps.groups] = lines + (k_.points == 1 ? row + dy : point) * line;
          taps.weight[taps.groups++] = k_.weights(block, point, dz * rows + dy);
        }
      }
      real_t* sums = sums_ + point * block.width * vectors * kLanes;
      thin_block(block.width, taps, x, vectors, sums);
    }
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
      const int64_t channel = piece.block.first + c;
      const V bias = broadcast(p_.bias == nullptr ? real_t(0) : p_.bias[channel]);
      real_t* out = p_.out + batch_ * p_.out_batch_stride +
                    channel * p_.out_channel_stride + (piece.z * n.y + piece.y) * n.x;
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
          if (row < rows) {
            store_clipped(out + row * n.x, piece.x + i * kLanes, n.x,
                          activate<real_t>(p_.activation, y[row] + bias));
          }
        });
      }
    }
  }

  const ConvThinParams<real_t>& p_;
  const ThinKernel<real_t>& k_;
  const ThinCut<real_t>& cut_;
  real_t *sums_, *staged_;
  int64_t batch_ = 0, y_ = 0, x_ = 0;
};

template <class real_t>
void conv_thin(const ConvThinParams<real_t>& p) {
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
