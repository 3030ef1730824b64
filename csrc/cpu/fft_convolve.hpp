// SPDX-License-Identifier: BSD-3-Clause
// Convolution with a kernel on a periodic grid: out = F^-1 (F image . otf), and the
// making of the OTF. Per item: planes in, columns, planes out; the spectrum crosses
// memory four times, image and result once.
#pragma once

#include "cpu/fields.hpp"
#include "cpu/job.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class real_t>
void image_to_spectrum(const Layout<real_t>& l, const Team& team,
                       const Field<const real_t>& f, int64_t item, real_t* spectrum,
                       const Scratch<real_t>& s, const Shares<real_t>& shares = {}) {
  const Extents reached = reach(f.window, l.grid);
  each_plane(l, team, reached, [&](int64_t z, RowBlocks blocks) {
    const auto load = [&](int64_t b) {
      return [&, b](real_t* line) {
        load_rows(l, f, item, z, b * l.kStep, real_t(0), line, s);
        if (!shares) return;
        share_line(l, RowShares<real_t>(l, shares, f.window, z, b * l.kStep), f.window,
                   line);
      };
    };
    if (!has_plane(f.window, l.grid, z)) {
      std::fill_n(spectrum + z * l.plane, l.plane, real_t(0));
      return;
    }
    enter_plane(l, spectrum + z * l.plane, reached.y, blocks, load, s);
  });
}

// With `add` on top of what the field holds, and then only the shares of it.
template <class real_t>
void spectrum_to_image(const Layout<real_t>& l, const Team& team, real_t* spectrum,
                       const Field<real_t>& f, int64_t item, const Scratch<real_t>& s,
                       const Shares<real_t>& shares = {}, bool add = false) {
  const Extents reached = reach(f.window, l.grid);
  each_plane(l, team, reached, [&](int64_t z, RowBlocks blocks) {
    if (!has_plane(f.window, l.grid, z)) return;
    const auto store = [&](int64_t b) {
      return [&, b](real_t* line) {
        const int64_t row = b * l.kStep;
        if (!add) return store_rows(l, line, f, item, z, row, s);
        add_rows(l, line, f, item, z, row,
                 RowShares<real_t>(l, shares, f.window, z, row));
      };
    };
    leave_plane(l, spectrum + z * l.plane, reached.y, blocks, store, s);
  });
}

template <class real_t>
void fft_convolve(const FftConvolveParams<real_t>& p) {
  const auto layout = layout_of<real_t>(p.grid);
  const Layout<real_t>& l = *layout;
  const ColumnLimits limits{column_limit(l, reach(p.image.window, l.grid)),
                            column_limit(l, reach(p.out.window, l.grid))};
  run_job(l, p.batch, l.spectrum_size(), p.threads,
          [&](Team team, int64_t b, real_t* spectrum, const Scratch<real_t>& s) {
            const real_t* otf = p.otf + p.kernel.of(b) * l.otf_size();
            const Shares<real_t> all;
            image_to_spectrum(l, team, p.image, b, spectrum, s,
                              p.adjoint ? all : p.shares);
            convolve_spectrum(l, team, {spectrum, spectrum}, otf, p.adjoint, limits, s);
            spectrum_to_image(l, team, spectrum, p.out, b, s, p.adjoint ? p.shares : all,
                              p.add);
          });
}

// --- OTF
// -------------------------------------------------------------------------------------

// One column of the kernel's spectrum, scaled, in the OTF's layout. The scale undoes the
// unnormalised transforms and the factors 2 of image and kernel (cpu/rows.hpp).
template <class real_t>
void otf_from_column(const Layout<real_t>& l, real_t* spectrum, int64_t c, int64_t limit,
                     real_t* otf, const Scratch<real_t>& s) {
  const LinePlan<real_t>& plan = l.column_plan();
  const auto line = contiguous_line(s.line, plan.n);
  auto column = column_views<real_t>(l, {spectrum, spectrum}, c, {limit, limit}, s).in;
  if (c + 1 < l.columns()) column.ahead = l.column_offset(c + 1) - l.column_offset(c);
  forward_line(plan, column, line, s.chirp);
  const real_t scale = real_t(1.0 / (4.0 * double(l.grid.count())));
  for (int64_t i = 0; i < plan.n * l.kStep; ++i)
    otf[c * plan.n * l.kStep + i] = s.line[i] * scale;
}

// Lane 0 of a packed column holds P = DC + i Nyquist; with H the two columns apart,
// H0 = (P[k] + conj P[-k]) / 2 and Hn = (P[k] - conj P[-k]) / 2i, the OTF keeps
// S = (H0 + Hn) / 2 there and D = (H0 - Hn) / 2 behind (multiply_packed in
// cpu/columns.hpp).
template <class real_t>
void unpack_otf(const Layout<real_t>& l, real_t* otf) {
  constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  using C = Complex<real_t>;
  const LinePlan<real_t>& plan = l.column_plan();
  const auto put = [&](int64_t at, const C& p, const C& q) {  // q = P[-k]
    const C h0{(p.re + q.re) / 2, (p.im - q.im) / 2};
    const C hn{(p.im + q.im) / 2, (q.re - p.re) / 2};
    otf[at * kStep] = (h0.re + hn.re) / 2;
    otf[at * kStep + kLanes] = (h0.im + hn.im) / 2;
    real_t* difference = otf + l.packed_offset() + 2 * at;
    difference[0] = (h0.re - hn.re) / 2;
    difference[1] = (h0.im - hn.im) / 2;
  };
  for (int64_t c = 0; c < l.columns_per_block(); ++c) {
    for (int64_t k = 0; k < plan.n; ++k) {
      const int64_t a = c * plan.n + k;
      const int64_t b = l.mirror_column(c) * plan.n + plan.mirror[k];
      if (b < a) continue;
      const C p{otf[a * kStep], otf[a * kStep + kLanes]};
      const C q{otf[b * kStep], otf[b * kStep + kLanes]};
      put(a, p, q);
      if (b != a) put(b, q, p);
    }
  }
}

// From planes of the spectrum, which stay; beyond the first `limit` there is nothing.
template <class real_t>
void otf_from_spectrum(const Layout<real_t>& l, const Team& team, real_t* spectrum,
                       int64_t limit, real_t* otf, const Scratch<real_t>& s) {
  team.each(l.columns(),
            [&](int64_t c) { otf_from_column(l, spectrum, c, limit, otf, s); });
  team.each(l.packed ? 1 : 0, [&](int64_t) { unpack_otf(l, otf); });
}

template <class real_t>
void make_otf(const OtfParams<real_t>& p) {
  const auto layout = layout_of<real_t>(p.grid);
  const Layout<real_t>& l = *layout;
  const int64_t limit = column_limit(l, reach(p.kernel.window, l.grid));
  run_job(l, p.kernels, l.spectrum_size(), p.threads,
          [&](Team team, int64_t k, real_t* spectrum, const Scratch<real_t>& s) {
            real_t* otf = p.otf + k * l.otf_size();
            image_to_spectrum(l, team, p.kernel, k, spectrum, s);
            otf_from_spectrum(l, team, spectrum, limit, otf, s);
          });
}

OTFUSE_END_ISA_NAMESPACE
