// SPDX-License-Identifier: BSD-3-Clause
// The Richardson-Lucy Network, inference, in one walk along z for each strip of rows.
// Every stage makes two planes at a time and keeps the few that the stages after it still
// read; strips are as high as lets these stay in cache. In step q the half resolution
// makes its pairs of planes q, q - 1, ..., the later the stage the earlier the planes,
// and the full resolution follows with two pairs of its own. Strips likewise: a stage
// needs a row below what it makes, so the later the stage the earlier its strips end, by
// `lag` rows, and what is above a strip was kept from the strip before. Bytes a voxel:
// 4 views + 4 from and to memory and, for r rows in a strip, 770 / r for the rows kept
// between strips; about 1200 * 4 from and to cache; flops: about 12 800 a voxel, 18 900
// without Winograd's saving. Li et al., Nat. Methods 19, 1427 (2022).
#include <stdexcept>
#include <string>
#include <vector>

#include "core/rln_params.hpp"
#include "cpu/rln_stages.hpp"
#include "cpu/workspace.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

namespace {

// What the planes of a strip may take: they are read from the last cache, which cores of
// servers share.
constexpr int64_t kCacheFloats = (int64_t(12) << 20) / sizeof(float);
// Rows at half resolution: by how many the last stage lags behind the first, and what a
// strip has at least, three of its rows being kept for the next. Wide planes do with so
// few: more would not stay in the cache, which costs more than what is kept.
constexpr int64_t kMostLag = 8, kLeastRows = 4, kLeastRowsOfThread = 2;

// Planes kept of each stage: the pair being made, and those before it that the schedule
// of RlnJob still reads. `strip` is the height of strips at half resolution.
struct RlnRings {
  PlaneRing xd, a1, a2, temp_layer, b4, b5, b6;             // half resolution
  PlaneRing x, d1, est, g1, b7, first, estimation, h1, h2;  // full resolution
  Rows prediction{};
  bool last = true;  // of the strips
  int64_t strips = 1, floats = 0;

  RlnRings(const PlaneShape& whole, int views, int64_t strip) {
    const PlaneShape half{whole.nz / 2, whole.ny / 2, whole.nx / 2};
    if (strip < half.ny) strips = ceil_div(half.ny + kMostLag, strip);
    const auto at_half = [&](int channels, int kept, int lag, int read_lag) {
      return PlaneRing{half, channels, kept, strip, lag, read_lag};
    };
    xd = at_half(views, 8, 0, 1);
    a1 = at_half(4, 7, 1, 3);
    a2 = at_half(4, 5, 2, 3);
    temp_layer = at_half(views, 5, 3, 4);
    b4 = at_half(8, 7, 4, 6);
    b5 = at_half(8, 5, 5, 6);
    b6 = at_half(8, 2, 6, 5);  // of b7 every row has one of b6
    const auto at_full = [&](int channels, int kept, int lag, int read_lag) {
      return PlaneRing{whole, channels, kept, 2 * strip, lag, read_lag};
    };
    x = at_full(views, 6, 9, 10);
    d1 = at_full(4, 5, 10, 11);
    est = at_full(views, 5, 11, 12);
    g1 = at_full(8, 5, 12, 13);
    b7 = at_full(4, 7, 12, 13);
    first = at_full(1, 7, 13, 15);
    estimation = at_full(1, 7, 13, 15);
    h1 = at_full(8, 7, 14, 16);
    h2 = at_full(8, 5, 15, 16);
    floats = x.plane_floats();  // the plane of zeros
    each([&](PlaneRing& ring) {
      floats += ring.floats() + (kept_above(ring) ? ring.floats_above() : 0);
    });
  }

  template <class F>
  void each(F f) {
    for (PlaneRing* r : {&xd, &a1, &a2, &temp_layer, &b4, &b5, &b6, &x, &d1, &est, &g1,
                         &b7, &first, &estimation, &h1, &h2}) {
      f(*r);
    }
  }

  bool kept_above(const PlaneRing& ring) const {
    return strips > 1 && &ring != &x && &ring != &xd;  // these come from the image
  }

  void place(float* data) {
    const auto take = [&](int64_t n) {
      data += n;
      return data - n;
    };
    const float* zeros = take(x.plane_floats());
    each([&](PlaneRing& ring) {
      ring.zeros = zeros;
      ring.data = take(ring.floats());
      if (kept_above(ring)) ring.above = take(ring.floats_above());
    });
  }

  // Rows of the image that the present strip reads: for both resolutions, and to update.
  Rows image_rows() const {
    const int64_t begin = std::min(
        {x.rows.begin - kRowsAbove, 2 * (xd.rows.begin - kRowsAbove), first.rows.begin});
    return {std::max<int64_t>(0, begin), std::max(x.rows.end, 2 * xd.rows.end)};
  }

  // The rows that each stage makes in strip s.
  void enter(int64_t s) {
    each([&](PlaneRing& r) {
      r.rows = rows_of_strip(s, strips, r.shape.ny, r.step, r.lag);
    });
    prediction = rows_of_strip(s, strips, x.shape.ny, x.step, 2 * kMostLag);
    last = s + 1 == strips;
  }
};

// Even strips whose planes stay in cache, high enough for all threads; one strip where
// two would do.
RlnRings rings_of(const RlnParams& p) {
  const PlaneShape whole{p.extent.z, p.extent.y, p.extent.x};
  const int64_t half = whole.ny / 2;
  const int64_t floats_of_row = RlnRings(whole, p.views, half).floats / half;
  const int64_t least = std::max(kLeastRows, kLeastRowsOfThread * p.threads);
  const int64_t most = std::max(least, kCacheFloats / floats_of_row);
  if (half <= 2 * most) return {whole, p.views, half};
  const int64_t strips = ceil_div(half + kMostLag, most);
  return {whole, p.views, ceil_div(half + kMostLag, strips)};
}

struct RlnJob {
  const RlnParams& p;
  RlnRings r;
  RlnWeights w;
  CallersRows<const float> image{};  // of the volume in work
  CallersRows<float> out{};

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
      const int64_t y = row / s.pitch(), n = std::min<int64_t>(s.nx - x, kFloatLanes);
      Vec mean{};
      for (int v = 0; v < p.views; ++v) {
        const float* at = image.row(v, z, y) + x;
        if (n == kFloatLanes) {
          mean += load_unaligned(at);
        } else {
          for (int64_t i = 0; i < n; ++i) mean[i] += at[i];
        }
      }
      return mean * (1.0f / p.views);
    };
  }

  // One stage's pair of planes: make(pair), and the rows that stand above those of
  // strips.
  template <class Make>
  void stage(const PlaneRing& out, int64_t pair, const Make& make) const {
    if (!has(out, pair)) return;
    each_of_pair(out.shape, pair, [&](int, int64_t z) { surround(out, z); });
    make(pair);
    if (r.last) return;
    each_of_pair(out.shape, pair, [&](int, int64_t z) { keep_last_rows(out, z); });
  }

  void half_resolution(int64_t q) const {
    if (has(r.xd, q)) {
      each_of_pair(r.xd.shape, q, [&](int, int64_t z) { pool_plane(image, r.xd, z); });
    }
    stage(r.a1, q - 1,
          [&](int64_t i) { soft_conv<4>(from(i, r.xd), w.conv[1], r.a1, i); });
    stage(r.a2, q - 2,
          [&](int64_t i) { soft_conv<4>(from(i, r.a1), w.conv[2], r.a2, i); });
    stage(r.temp_layer, q - 3, [&](int64_t i) {
      ratio_conv(from(i, r.a1, r.a2), w.conv[3], r.xd, p.denominator, w.norm_3,
                 r.temp_layer, i);
    });
    stage(r.b4, q - 4,
          [&](int64_t i) { soft_conv<8>(from(i, r.temp_layer), w.conv[4], r.b4, i); });
    stage(r.b5, q - 5,
          [&](int64_t i) { soft_conv<8>(from(i, r.b4), w.conv[5], r.b5, i); });
    stage(r.b6, q - 6,
          [&](int64_t i) { soft_conv<8>(from(i, r.b5, r.b4), w.conv[6], r.b6, i); });
    for (int64_t z = 2 * (q - 6); z < 2 * (q - 6) + 2; ++z) {
      stage(r.b7, z, [&](int64_t i) { up_planes(r.b6, w.conv[7], r.b7, i); });
    }
  }

  void full_resolution(int64_t pair) const {
    if (has(r.x, pair + 4)) {
      each_of_pair(r.x.shape, pair + 4,
                   [&](int, int64_t z) { copy_plane(image, r.x, z); });
    }
    stage(r.d1, pair + 3,
          [&](int64_t i) { soft_conv<4>(from(i, r.x), w.conv[9], r.d1, i); });
    stage(r.est, pair + 2, [&](int64_t i) {
      ratio_conv(from(i, r.d1), w.conv[10], r.x, p.denominator, w.norm_12, r.est, i);
    });
    stage(r.g1, pair + 1,
          [&](int64_t i) { soft_conv<8>(from(i, r.est), w.conv[11], r.g1, i); });
    stage(r.first, pair, [&](int64_t i) {
      update_conv<4>(from(i, r.b7), w.conv[8], 0.0f, mean_of_views(), w.norm_9, r.first,
                     i);
    });
    stage(r.estimation, pair, [&](int64_t i) {
      const auto estimate = [&](int64_t z, int64_t row, int64_t x) OTFUSE_LAMBDA {
        return load_aligned(r.first.plane(0, z) + row + x);
      };
      update_conv<8>(from(i, r.g1), w.conv[12], 1.0f, estimate, w.norm_15, r.estimation,
                     i);
    });
    stage(r.h1, pair - 1,
          [&](int64_t i) { soft_conv<8>(from(i, r.estimation), w.conv[13], r.h1, i); });
    stage(r.h2, pair - 2, [&](int64_t i) {
      soft_conv<8>(from(i, r.h1, r.estimation, r.first), w.conv[14], r.h2, i);
    });
    if (has(r.x, pair - 3)) prediction(pair - 3);
  }

  void prediction(int64_t pair) const {
    const PlaneShape& s = r.x.shape;
    conv_pair<8>(from(pair, r.h1, r.h2), w.conv[15], s, r.prediction, pair,
                 [&](int64_t z, int64_t row, int64_t x, const Vec(&sums)[8])
                     OTFUSE_LAMBDA {
                       const Vec mean = mean_softplus(sums);
                       float* to = out.row(0, z, row / s.pitch()) + x;
                       if (x + kFloatLanes <= s.nx) {
                         store_unaligned(to, mean);
                       } else {
                         for (int64_t i = 0; i < s.nx - x; ++i) to[i] = mean[i];
                       }
                     });
  }

  void walk_along_z() const {
    const int64_t last = (r.x.shape.nz + 1) / 2 - 1;  // pair of the full resolution
    for (int64_t q = 0; 2 * (q - 6) - 1 <= last + 3; ++q) {
      half_resolution(q);
      full_resolution(2 * (q - 6) - 1);
      full_resolution(2 * (q - 6));
    }
  }

  void walk_strips(int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      r.enter(s);
      walk_along_z();
    }
  }

  // All strips of item b of the batch.
  void run(int64_t b) {
    const Rows all{0, p.extent.y};
    image = {p.image + b * p.views * p.extent.count(), r.x.shape, all};
    out = {p.out + b * p.extent.count(), r.x.shape, all};
    walk_strips(0, r.strips);
  }

  // Some strips, whose rows are all that the caller gives and takes.
  void run_strips(Rows image_rows, Rows out_rows, int64_t begin, int64_t end) {
    image = {p.image, r.x.shape, image_rows};
    out = {p.out, r.x.shape, out_rows};
    walk_strips(begin, end);
  }
};

// Zeros before every row and after the last; the rest is written before it is read.
void clear_borders(const PlaneRing& ring) {
  const int64_t pitch = ring.shape.pitch(), n = ring.plane_floats();
#pragma omp for schedule(static) nowait
  for (int64_t i = 0; i < int64_t(ring.kept) * ring.channels; ++i) {
    float* plane = ring.data + i * n;
    for (int64_t at = 0; at < n; at += pitch) {
      std::fill(plane + at, plane + std::min(at + kFloatLanes, n), 0.0f);
    }
    std::fill(plane + n - kFloatLanes, plane + n, 0.0f);
  }
}

// A job in memory of rln_bytes; throws std::invalid_argument.
RlnJob job_in(float* memory, const RlnParams& p) {
  RlnJob job{p, rings_of(p), RlnWeights(p.weights, p.views)};
  if (job.w.floats != p.n_weights) {
    throw std::invalid_argument("rln: weights must hold " + std::to_string(job.w.floats) +
                                " floats, got " + std::to_string(p.n_weights));
  }
  job.r.place(memory);
  return job;
}

// All that no stage writes.
void clear(RlnJob& job, float* memory) {
#pragma omp single
  std::fill_n(memory, job.r.x.plane_floats(), 0.0f);
  job.r.each([](const PlaneRing& ring) { clear_borders(ring); });
#pragma omp barrier
}

}  // namespace

int64_t rln_bytes(const RlnParams& p) {
  return rings_of(p).floats * int64_t(sizeof(float));
}

std::vector<RlnStrip> rln_strips(const RlnParams& p) {
  RlnRings rings = rings_of(p);
  std::vector<RlnStrip> strips;
  for (int64_t s = 0; s < rings.strips; ++s) {
    rings.enter(s);
    strips.push_back({rings.image_rows(), rings.prediction});
  }
  return strips;
}

void rln(const RlnParams& p) {
  const Workspace workspace(size_t(rln_bytes(p)));
  float* memory = static_cast<float*>(workspace.data());
  const RlnJob job = job_in(memory, p);
#pragma omp parallel num_threads(p.threads)
  {
    RlnJob mine = job;
    clear(mine, memory);
    for (int64_t b = 0; b < p.batch; ++b) mine.run(b);
  }
}

void rln_some_strips(const RlnParams& p, int64_t begin, int64_t end, float* memory) {
  const std::vector<RlnStrip> strips = rln_strips(p);
  const RlnStrip &first = strips.at(size_t(begin)), &last = strips.at(size_t(end) - 1);
  const Rows image_rows{first.image.begin, last.image.end};
  const Rows out_rows{first.out.begin, last.out.end};
  const RlnJob job = job_in(memory, p);
#pragma omp parallel num_threads(p.threads)
  {
    RlnJob mine = job;
    if (begin == 0) clear(mine, memory);
    mine.run_strips(image_rows, out_rows, begin, end);
  }
}

OTFUSE_END_ISA_NAMESPACE
