// SPDX-License-Identifier: BSD-3-Clause
// The stages of RLN that are more than a convolution with softplus; each is called by all
// threads and shares its rows among them. Names of stages are those of the publication's
// code.
#pragma once

#include "core/pointwise.hpp"
#include "cpu/conv_planes.hpp"
#include "cpu/softplus.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

using Vec = Lanes<float>;

// Both planes of a pair: f(plane of the pair, z) for those inside.
template <class F>
OTFUSE_HD void each_of_pair(const PlaneShape& shape, int64_t pair, F f) {
  for (int i = 0; i < 2; ++i) {
    if (2 * pair + i < shape.nz) f(i, 2 * pair + i);
  }
}

// Sums of a pair of planes, given to store(i, z, row, x, sums of all channels).
template <int kOut, class Store>
void conv_pair(const PairInputs& in, const ConvWeights& w, const PlaneShape& shape,
               const Rows& rows, int64_t pair, const Store& store) {
#pragma omp for schedule(static)
  for (int64_t y = rows.begin; y < rows.end; ++y) {
    const int64_t row = shape.row(y);
    conv_row<kOut>(
        in, w, shape, y, [&](int64_t x, const Vec(&out)[2][kOut]) OTFUSE_LAMBDA {
          each_of_pair(shape, pair,
                       [&](int i, int64_t z) OTFUSE_LAMBDA { store(z, row, x, out[i]); });
        });
  }
}

template <int kOut>
OTFUSE_HD Vec mean_softplus(const Vec (&sums)[kOut]) {
  Vec total = softplus(sums[0]);
  unroll<kOut - 1>([&](auto o) OTFUSE_LAMBDA { total += softplus(sums[o + 1]); });
  return total * (1.0f / kOut);
}

// out = softplus(convolution), every channel kept.
template <int kOut>
void soft_conv(const PairInputs& in, const ConvWeights& w, const PlaneRing& out,
               int64_t pair) {
  const PlaneShape& shape = out.shape;
  conv_pair<kOut>(
      in, w, shape, out.rows, pair,
      [&](int64_t z, int64_t row, int64_t x, const Vec(&sums)[kOut]) OTFUSE_LAMBDA {
        unroll<kOut>([&](auto o) OTFUSE_LAMBDA {
          store_in_row(out.plane(o, z) + row, x, shape.nx, softplus(sums[o]));
        });
      });
}

// out = affine(image / (mean over channels of blurred + c)), where the blurred are
// softplus of the convolution plus softplus of the image; image and out have one channel
// a view.
inline void ratio_conv(const PairInputs& in, const ConvWeights& w, const PlaneRing& image,
                       float denominator, const Affine& norm, const PlaneRing& out,
                       int64_t pair) {
  const PlaneShape& shape = out.shape;
  const int views = image.channels;
  conv_pair<4>(in, w, shape, out.rows, pair,
               [&](int64_t z, int64_t row, int64_t x, const Vec(&sums)[4]) OTFUSE_LAMBDA {
                 Vec skip{};
                 for (int v = 0; v < views; ++v) {
                   skip += softplus(load_aligned(image.plane(v, z) + row + x));
                 }
                 const Vec divisor =
                     mean_softplus(sums) + skip * (1.0f / views) + denominator;
                 for (int v = 0; v < views; ++v) {
                   const Vec value = load_aligned(image.plane(v, z) + row + x);
                   const Vec ratio = divisor != 0 ? value / divisor : Vec{};
                   store_in_row(out.plane(v, z) + row, x, shape.nx,
                                ratio * norm.scale[v] + norm.shift[v]);
                 }
               });
}

// out = softplus(affine(estimate * (mean over channels of softplus(convolution) +
// offset))); estimate(z, row, x) gives a vector of it.
template <int kOut, class Estimate>
void update_conv(const PairInputs& in, const ConvWeights& w, float offset,
                 const Estimate& estimate, const Affine& norm, const PlaneRing& out,
                 int64_t pair) {
  const PlaneShape& shape = out.shape;
  conv_pair<kOut>(
      in, w, shape, out.rows, pair,
      [&](int64_t z, int64_t row, int64_t x, const Vec(&sums)[kOut]) OTFUSE_LAMBDA {
        const Vec updated = estimate(z, row, x) * (mean_softplus(sums) + offset);
        store_in_row(out.plane(0, z) + row, x, shape.nx,
                     softplus(updated * norm.scale[0] + norm.shift[0]));
      });
}

// Rows of the caller's volumes, (volumes, nz, rows, nx).
template <class T>
struct CallersRows {
  T* data = nullptr;
  PlaneShape shape{};  // of whole volumes
  Rows rows{};

  T* row(int64_t volume, int64_t z, int64_t y) const {
    const int64_t plane = (volume * shape.nz + z) * rows.count();
    return data + (plane + y - rows.begin) * shape.nx;
  }
};

// The rows of a strip and those above it, of a plane that is made from the caller's
// image: fill(channel, y, row), zeros outside.
template <class Fill>
void image_rows(const PlaneRing& out, int64_t z, const Fill& fill) {
  const PlaneShape& s = out.shape;
  const int64_t below = out.rows.end == s.ny;
  for (int v = 0; v < out.channels; ++v) {
    float* plane = out.plane(v, z);
#pragma omp for schedule(static) nowait
    for (int64_t y = out.rows.begin - kRowsAbove; y < out.rows.end + below; ++y) {
      float* row = plane + s.row(y);
      const bool inside = y >= 0 && y < s.ny;
      if (inside) fill(v, y, row);
      std::fill(row + (inside ? s.nx : 0), row + s.pitch() - kFloatLanes, 0.0f);
    }
  }
#pragma omp barrier
}

// A plane of the caller's views into the ring.
inline void copy_plane(const CallersRows<const float>& image, const PlaneRing& out,
                       int64_t z) {
  image_rows(out, z, [&](int v, int64_t y, float* row) {
    std::memcpy(row, image.row(v, z, y), size_t(out.shape.nx) * sizeof(float));
  });
}

// A plane of means over 2 x 2 x 2 voxels of the caller's views.
inline void pool_plane(const CallersRows<const float>& image, const PlaneRing& out,
                       int64_t z) {
  const int64_t nx = out.shape.nx;
  image_rows(out, z, [&](int v, int64_t y, float* row) {
    const float *a = image.row(v, 2 * z, 2 * y), *b = a + image.shape.nx;
    const float *c = image.row(v, 2 * z + 1, 2 * y), *d = c + image.shape.nx;
    for (int64_t x = 0; x < nx; ++x) {
      row[x] = 0.125f * (((a[2 * x] + a[2 * x + 1]) + (b[2 * x] + b[2 * x + 1])) +
                         ((c[2 * x] + c[2 * x + 1]) + (d[2 * x] + d[2 * x + 1])));
    }
  });
}

// Lanes a0 b0 a1 b1 ... of the lower (kHigh = 0) or upper halves.
template <int kHigh, int... I>
OTFUSE_HD Vec interleaved(const Vec& a, const Vec& b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(
      a, b, (I / 2 + kHigh * kFloatLanes / 2 + I % 2 * kFloatLanes)...);
}

// The transposed convolution 2x2x2 with stride 2, and softplus: two planes, of which the
// first is 2 z, from plane z. Where an odd extent leaves a last plane, row or voxel that
// no input reaches, the zeros around the input give it what it should have:
// softplus(shift).
template <int kIn>
OTFUSE_HD void up_vector(const float* const (&in)[kIn], int64_t offset, const float* taps,
                         const float* shift, Vec (&out)[2][4]) {
  unroll<8>([&](auto i) OTFUSE_LAMBDA { out[i / 4][i % 4] = broadcast(shift[i % 4]); });
  for (int c = 0; c < kIn; ++c) {
    const Vec value = load_aligned(in[c] + offset);
    unroll<8>([&](auto i) OTFUSE_LAMBDA {
      out[i / 4][i % 4] += value * taps[(i / 4) * kIn * 4 + c * 4 + i % 4];
    });
  }
}

inline void up_planes(const PlaneRing& in, const ConvWeights& w, const PlaneRing& out,
                      int64_t z) {
  constexpr int kIn = 8;
  constexpr auto lanes = std::make_integer_sequence<int, kFloatLanes>{};
  const PlaneShape& s = out.shape;
  const float* planes[kIn];
  for (int c = 0; c < kIn; ++c) planes[c] = in.any_plane(c, z);
#pragma omp for schedule(static)
  for (int64_t y = out.rows.begin; y < out.rows.end; ++y) {
    const int64_t row = in.shape.row(y / 2);
    for (int64_t x = 0; 2 * x < s.nx; x += kFloatLanes) {
      for (int i = 0; i < 2 && 2 * z + i < s.nz; ++i) {
        Vec sums[2][4];  // even and odd voxels of the row
        const float* taps = w.taps + (2 * i + y % 2) * 2 * kIn * 4;
        up_vector<kIn>(planes, row + x, taps, w.shift, sums);
        unroll<4>([&](auto o) OTFUSE_LAMBDA {
          float* to = out.plane(o, 2 * z + i) + s.row(y);
          const Vec even = softplus(sums[0][o]), odd = softplus(sums[1][o]);
          store_in_row(to, 2 * x, s.nx, interleaved<0>(even, odd, lanes));
          if (2 * x + kFloatLanes < s.nx) {
            store_in_row(to, 2 * x + kFloatLanes, s.nx, interleaved<1>(even, odd, lanes));
          }
        });
      }
    }
  }
}

OTFUSE_END_ISA_NAMESPACE
