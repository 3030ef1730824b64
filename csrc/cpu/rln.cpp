// SPDX-License-Identifier: BSD-3-Clause
// The Richardson-Lucy Network, inference, in one walk along z. Every stage makes two
// planes at a time and keeps the few that the stages after it still read, so that planes
// stay in cache and memory does not grow with nz; an image is read, and the result
// written, once. In step q the half resolution makes its pairs of planes q, q - 1, ...,
// the later the stage the earlier the planes, and the full resolution follows with two
// pairs of its own. Bytes: 4 views + 4 a voxel from and to memory, about 1200 * 4 from
// and to cache; flops: about 12 800 a voxel, 18 900 without Winograd's saving. Li et al.,
// Nat. Methods 19, 1427 (2022).
#include <stdexcept>
#include <string>

#include "core/rln_params.hpp"
#include "cpu/rln_stages.hpp"
#include "cpu/workspace.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

namespace {

// Planes kept of each stage; in pairs, as the schedule of RlnJob reads them.
struct RlnRings {
  PlaneRing xd, a1, a2, temp_layer, b4, b5, b6;             // half resolution
  PlaneRing x, d1, est, g1, b7, first, estimation, h1, h2;  // full resolution
  int64_t floats = 0;

  RlnRings(const PlaneShape& whole, int views) {
    const PlaneShape half{whole.nz / 2, whole.ny / 2, whole.nx / 2};
    xd = {half, views, 8};
    a1 = {half, 4, 8};
    a2 = {half, 4, 6};
    temp_layer = {half, views, 6};
    b4 = {half, 8, 8};
    b5 = {half, 8, 6};
    b6 = {half, 8, 2};
    x = {whole, views, 6};
    d1 = {whole, 4, 6};
    est = {whole, views, 6};
    g1 = {whole, 8, 6};
    b7 = {whole, 4, 8};
    first = {whole, 1, 8};
    estimation = {whole, 1, 8};
    h1 = {whole, 8, 8};
    h2 = {whole, 8, 6};
    floats = whole.floats();  // the plane of zeros
    each([&](PlaneRing& ring) { floats += ring.floats(); });
  }

  template <class F>
  void each(F f) {
    for (PlaneRing* r : {&xd, &a1, &a2, &temp_layer, &b4, &b5, &b6, &x, &d1, &est, &g1,
                         &b7, &first, &estimation, &h1, &h2}) {
      f(*r);
    }
  }

  void place(float* data) {
    const float* zeros = data;
    data += x.shape.floats();
    each([&](PlaneRing& ring) {
      ring.data = data;
      ring.zeros = zeros;
      data += ring.floats();
    });
  }
};

struct RlnJob {
  const RlnParams& p;
  RlnRings r;
  RlnWeights w;
  const float* image = nullptr;  // of the batch's item in work
  float* out = nullptr;

  bool has(const PlaneRing& ring, int64_t pair) const {
    return pair >= 0 && 2 * pair < ring.shape.nz;
  }

  template <class... Rings>
  PairInputs from(int64_t pair, const Rings&... rings) const {
    PairInputs in;
    (in.add(rings, 2 * pair), ...);
    return in;
  }

  // The caller's image at the place of a vector of a row, the mean over its views.
  auto mean_of_views() const {
    return [this](int64_t z, int64_t row, int64_t x) OTFUSE_LAMBDA {
      const PlaneShape& s = r.x.shape;
      const int64_t y = row / s.pitch() - 1, n = std::min<int64_t>(s.nx - x, kFloatLanes);
      Vec mean{};
      for (int v = 0; v < p.views; ++v) {
        const float* at = image + ((v * s.nz + z) * s.ny + y) * s.nx + x;
        if (n == kFloatLanes) {
          mean += load_unaligned(at);
        } else {
          for (int64_t i = 0; i < n; ++i) mean[i] += at[i];
        }
      }
      return mean * (1.0f / p.views);
    };
  }

  void half_resolution(int64_t q) const {
    if (has(r.xd, q)) {
      each_of_pair(r.xd.shape, q,
                   [&](int, int64_t z) { pool_plane(image, r.x.shape, r.xd, z); });
    }
    if (has(r.a1, q - 1)) soft_conv<4>(from(q - 1, r.xd), w.conv[1], r.a1, q - 1);
    if (has(r.a2, q - 2)) soft_conv<4>(from(q - 2, r.a1), w.conv[2], r.a2, q - 2);
    if (has(r.temp_layer, q - 3)) {
      ratio_conv(from(q - 3, r.a1, r.a2), w.conv[3], r.xd, p.denominator, w.norm_3,
                 r.temp_layer, q - 3);
    }
    if (has(r.b4, q - 4)) soft_conv<8>(from(q - 4, r.temp_layer), w.conv[4], r.b4, q - 4);
    if (has(r.b5, q - 5)) soft_conv<8>(from(q - 5, r.b4), w.conv[5], r.b5, q - 5);
    if (has(r.b6, q - 6)) soft_conv<8>(from(q - 6, r.b5, r.b4), w.conv[6], r.b6, q - 6);
    for (int64_t z = 2 * (q - 6); z < 2 * (q - 6) + 2; ++z) {
      if (z >= 0 && 2 * z < r.b7.shape.nz) up_planes(r.b6, w.conv[7], r.b7, z);
    }
  }

  void full_resolution(int64_t pair) const {
    if (has(r.x, pair + 4)) {
      each_of_pair(r.x.shape, pair + 4,
                   [&](int, int64_t z) { copy_plane(image, r.x, z); });
    }
    if (has(r.d1, pair + 3)) soft_conv<4>(from(pair + 3, r.x), w.conv[9], r.d1, pair + 3);
    if (has(r.est, pair + 2)) {
      ratio_conv(from(pair + 2, r.d1), w.conv[10], r.x, p.denominator, w.norm_12, r.est,
                 pair + 2);
    }
    if (has(r.g1, pair + 1))
      soft_conv<8>(from(pair + 1, r.est), w.conv[11], r.g1, pair + 1);
    if (has(r.first, pair)) {
      update_conv<4>(from(pair, r.b7), w.conv[8], 0.0f, mean_of_views(), w.norm_9,
                     r.first, pair);
      const PlaneRing& first = r.first;
      const auto estimate = [&](int64_t z, int64_t row, int64_t x) OTFUSE_LAMBDA {
        return load_aligned(first.plane(0, z) + row + x);
      };
      update_conv<8>(from(pair, r.g1), w.conv[12], 1.0f, estimate, w.norm_15,
                     r.estimation, pair);
    }
    if (has(r.h1, pair - 1))
      soft_conv<8>(from(pair - 1, r.estimation), w.conv[13], r.h1, pair - 1);
    if (has(r.h2, pair - 2)) {
      soft_conv<8>(from(pair - 2, r.h1, r.estimation, r.first), w.conv[14], r.h2,
                   pair - 2);
    }
    if (has(r.x, pair - 3)) prediction(pair - 3);
  }

  void prediction(int64_t pair) const {
    const PlaneShape& s = r.x.shape;
    conv_pair<8>(from(pair, r.h1, r.h2), w.conv[15], s, pair,
                 [&](int64_t z, int64_t row, int64_t x, const Vec(&sums)[8])
                     OTFUSE_LAMBDA {
                       const Vec mean = mean_softplus(sums);
                       float* to = out + (z * s.ny + row / s.pitch() - 1) * s.nx + x;
                       if (x + kFloatLanes <= s.nx) {
                         store_unaligned(to, mean);
                       } else {
                         for (int64_t i = 0; i < s.nx - x; ++i) to[i] = mean[i];
                       }
                     });
  }

  void run() const {
    const int64_t last = (r.x.shape.nz + 1) / 2 - 1;  // pair of the full resolution
    for (int64_t q = 0; 2 * (q - 6) - 1 <= last + 3; ++q) {
      half_resolution(q);
      full_resolution(2 * (q - 6) - 1);
      full_resolution(2 * (q - 6));
    }
  }
};

// Zeros around every plane; the rest is written before it is read.
void clear_borders(const PlaneRing& ring) {
  const PlaneShape& s = ring.shape;
#pragma omp for schedule(static) nowait
  for (int64_t i = 0; i < int64_t(ring.kept) * ring.channels; ++i) {
    float* plane = ring.data + i * s.floats();
    std::fill(plane, plane + s.row(0), 0.0f);
    for (int64_t y = 0; y < s.ny; ++y) {
      std::fill(plane + s.row(y) - kFloatLanes, plane + s.row(y), 0.0f);
    }
    std::fill(plane + s.row(s.ny) - kFloatLanes, plane + s.floats(), 0.0f);
  }
}

PlaneShape rln_shape(const RlnParams& p) { return {p.extent.z, p.extent.y, p.extent.x}; }

}  // namespace

int64_t rln_bytes(const RlnParams& p) {
  return RlnRings(rln_shape(p), p.views).floats * int64_t(sizeof(float));
}

void rln(const RlnParams& p) {
  RlnJob job{p, RlnRings(rln_shape(p), p.views), RlnWeights(p.weights, p.views)};
  if (job.w.floats != p.n_weights) {
    throw std::invalid_argument("rln: weights must hold " + std::to_string(job.w.floats) +
                                " floats, got " + std::to_string(p.n_weights));
  }
  const Workspace workspace(size_t(job.r.floats) * sizeof(float));
  job.r.place(static_cast<float*>(workspace.data()));
  std::fill_n(static_cast<float*>(workspace.data()), job.r.x.shape.floats(), 0.0f);
#pragma omp parallel num_threads(p.threads)
  {
    RlnJob mine = job;
    mine.r.each([](const PlaneRing& ring) { clear_borders(ring); });
#pragma omp barrier
    for (int64_t b = 0; b < p.batch; ++b) {
      mine.image = p.image + b * p.views * p.extent.count();
      mine.out = p.out + b * p.extent.count();
      mine.run();
    }
  }
}

OTFUSE_END_ISA_NAMESPACE
