// SPDX-License-Identifier: BSD-3-Clause
// What loops of Richardson-Lucy's kind share: one image's arrays, how they come and go,
// and the weight W = 1 / H^T 1 of the voxels that the camera sees.
#pragma once

#include <atomic>

#include "cpu/fft_convolve.hpp"
#include "cpu/node_columns.hpp"
#include "cpu/rl_memory.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Below this share of its light seen by the camera a voxel is not restored.
inline constexpr double kLeastWeight = 0.01;

template <class real_t>
class RlFrame {
 public:
  using V = Lanes<real_t>;

  RlFrame(const Layout<real_t>& l, const RichardsonLucyParams<real_t>& p, Team team,
          int64_t item, real_t* memory, const Scratch<real_t>& s)
      : l(l),
        p(p),
        team(team),
        item(item),
        s(s),
        m(l, p, memory),
        otf(p.otf + p.kernel.of(item) * l.otf_size()),
        otf_back(p.otf_back ? p.otf_back + p.kernel.of(item) * l.otf_size() : otf),
        floor(broadcast(p.floor[item])),
        seen(reach(p.image.window, l.grid)),
        seen_columns(column_limit(l, seen)),
        all_columns(column_limit(l, l.grid)),
        large(l.real_size(l.grid.z, l.grid.y) * int64_t(sizeof(real_t)) > 2 * kL2Bytes),
        varies(p.nodes.count() > 1),
        in_planes(spectra_of_nodes(l, p.nodes) > 1) {}

 protected:
  // Row block b of plane z of an array that holds `rows` rows a plane.
  int64_t block(int64_t z, int64_t b, int64_t rows) const {
    return (z * l.row_blocks(rows) + b) * l.row_block;
  }
  real_t* spectrum(int64_t view) const { return m.spectrum + view * l.spectrum_size(); }
  real_t* plane(int64_t z, int64_t view = 0) const {
    return spectrum(view) + z * l.plane;
  }
  // An array of one value for each pixel of each view's image.
  real_t* of_view(real_t* images, int64_t view) const {
    return images + view * l.real_size(seen.z, seen.y);
  }

  template <class F>
  void each_block(const Extents& extents, F f) const {
    const int64_t blocks = l.row_blocks(extents.y);
    team.each(extents.z * blocks, [&](int64_t i) { f(i / blocks, i % blocks); });
  }

  void load_field(const Field<const real_t>& f, const Extents& extents, real_t fill,
                  real_t* to, int64_t view = 0) const {
    each_block(extents, [&](int64_t z, int64_t b) {
      real_t* const line = to + block(z, b, extents.y);
      const int64_t at = view * p.batch + item;
      if (f) return load_rows(l, f, at, z, b * l.kStep, fill, line, s);
      std::fill(line, line + l.row_block, fill);
    });
  }

  // H^T 1 as a spectrum.
  void project_observed(int64_t view = 0) const {
    each_plane(l, team, seen, [&](int64_t z, RowBlocks blocks) {
      const auto observed = [&](int64_t b) {
        const real_t* image = of_view(m.image, view) + block(z, b, seen.y);
        return [=, this](real_t* line) {
          each_value(l, line, [&](int64_t x, const Complex<V>&) -> Complex<V> {
            const auto y = load_complex<real_t>(image + x * l.kStep);
            const V one = V{} + 1;
            return {y.re < V{} ? V{} : one, y.im < V{} ? V{} : one};
          });
        };
      };
      enter_plane(l, plane(z), seen.y, blocks, observed, s);
    });
    project_back(m.spectrum, view);
  }

  void make_weight() {
    project_observed();
    each_plane(l, team, l.grid, [&](int64_t z, RowBlocks blocks) {
      const auto invert = [&](int64_t b) {
        real_t* weight = m.weight + block(z, b, l.grid.y);
        real_t* estimate = m.estimate + block(z, b, l.grid.y);
        return [=, this](real_t* line) { set_weight(line, weight, estimate); };
      };
      leave_estimate(z, blocks, invert);
    });
  }

  // W of a row block from H^T 1; voxels that the camera hardly sees start, and stay, at
  // 0. With a back projector of its own what is missing from 1.
  void set_weight(const real_t* line, real_t* weight, real_t* estimate) const {
    const V least = broadcast(real_t(kLeastWeight)), one = V{} + 1;
    for (int64_t i = 0; i < l.row_block; i += l.kLanes) {
      const V sum = load_aligned(line + i);
      if (p.otf_back) {
        store_aligned(weight + i, one - sum);
        continue;
      }
      store_aligned(weight + i, sum > least ? one / sum : V{});
      store_aligned(estimate + i, sum > least ? load_aligned(estimate + i) : V{});
    }
  }

  // Of row block b: 1 in the first `rows` rows of a plane, 0 in those beyond.
  Complex<V> rows_below(int64_t b, int64_t rows) const {
    Complex<V> below = zero_complex<real_t>();
    for (int i = 0; i < l.kLanes; ++i) {
      below.re[i] = real_t(b * l.kStep + i < rows);
      below.im[i] = real_t(b * l.kStep + l.kLanes + i < rows);
    }
    return below;
  }

  // The estimate's spectrum as a view blurs it, there or in another place.
  void blur(const SpectrumPair<real_t>& spectra, int64_t view = 0) const {
    convolve_spectrum(l, team, spectra, otf + otf_offset(view), false,
                      {all_columns, seen_columns}, s);
  }
  void blur(real_t* spectrum) const {
    if (!varies) return blur({spectrum, spectrum});
    convolve_nodes<false>(l, team, spectrum, nodes(), {all_columns, seen_columns}, s);
  }
  void project_back(real_t* spectrum, int64_t view = 0) const {
    const ColumnLimits limits{seen_columns, all_columns};
    if (varies) return convolve_nodes<true>(l, team, spectrum, nodes(), limits, s);
    convolve_spectrum(l, team, {spectrum, spectrum}, otf_back + otf_offset(view), true,
                      limits, s);
  }
  int64_t otf_offset(int64_t view) const {
    return view * p.kernel.kernels * l.otf_size();
  }
  ColumnNodes<real_t> nodes() const {
    return {l.flat ? p.nodes.y : p.nodes.z, spectra_of_nodes(l, p.nodes), otf,
            p.kernel.kernels * l.otf_size(), l.flat ? p.shares.y : p.shares.z};
  }
  NodePlanes<real_t> planes_of_nodes() const {
    return {l, p.nodes, p.shares, m.spectrum, s};
  }

  // A plane of the estimate, or of the light that came back to it.
  template <Way kWay = Way::kBoth, class OpOf>
  void turn_estimate(int64_t z, RowBlocks blocks, const OpOf& op_of) const {
    if (in_planes) return planes_of_nodes().template turn<kWay>(z, blocks, op_of);
    turn_plane<kWay>(l, plane(z), l.grid.y, blocks, op_of, s);
  }
  template <class OpOf>
  void enter_estimate(int64_t z, RowBlocks blocks, const OpOf& op_of) const {
    if (in_planes) return planes_of_nodes().enter(z, blocks, op_of);
    enter_plane(l, plane(z), l.grid.y, blocks, op_of, s);
  }
  template <class OpOf>
  void leave_estimate(int64_t z, RowBlocks blocks, const OpOf& op_of) const {
    if (in_planes) return planes_of_nodes().leave(z, blocks, op_of);
    leave_plane(l, plane(z), l.grid.y, blocks, op_of, s);
  }

  // Every row block of a plane of the estimate through op_of(block), frequencies to
  // values.
  template <class OpOf>
  void leave_with(int64_t z, RowBlocks blocks, const OpOf& op_of) {
    const auto consume = [&](int64_t b) {
      return [&l = l, made = op_of(b)](real_t* line) {
        auto op = made;
        each_value(l, line, [&](int64_t x, const Complex<V>& v) { return op(x, v); });
        op.finish();
      };
    };
    leave_estimate(z, blocks, consume);
  }

  // The sum of the parts of each row block, in one order whatever the threads did.
  void sum_up(const Extents& extents, double* to) const {
    team.each(1, [&](int64_t) {
      double sum = 0;
      for (int64_t j = 0; j < m.partials(l, extents); ++j) sum += m.partial[j];
      *to = sum;
    });
  }

  // Thread 0 alone may ask the caller (Python's signals belong to its thread).
  bool stopped(std::atomic<bool>& stop) const {
    if (p.poll != nullptr && omp_get_thread_num() == 0 && p.poll()) stop = true;
    if (team.shared) {
#pragma omp barrier
    }
    return stop;
  }

  void store(const Field<real_t>& f, const real_t* from) const {
    each_block(reach(f.window, l.grid), [&](int64_t z, int64_t b) {
      store_rows(l, from + block(z, b, l.grid.y), f, item, z, b * l.kStep, s);
    });
  }

  const Layout<real_t>& l;
  const RichardsonLucyParams<real_t>& p;
  const Team team;
  const int64_t item;
  const Scratch<real_t>& s;
  RlMemory<real_t> m;  // of each thread its own: they swap alike
  const real_t *const otf, *const otf_back;
  const V floor;
  const Extents seen;
  const int64_t seen_columns, all_columns;
  const bool large;              // an array is, so that it leaves the cache meanwhile
  const bool varies, in_planes;  // the PSF, and whether it does so within planes
};

OTFUSE_END_ISA_NAMESPACE
