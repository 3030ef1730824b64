// SPDX-License-Identifier: BSD-3-Clause
// What Richardson-Lucy's step for the PSF is made of, with x the estimate held:
//   X^T(y / (h x + b))   and   X^T 1, where pixels were observed,
// on the PSF's window alone. The estimate is transformed once: its spectrum is blurred,
// and is the OTF of X.
#pragma once

#include "cpu/fft_convolve.hpp"
#include "cpu/rl_steps.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class real_t>
class PsfTerms {
 public:
  using V = Lanes<real_t>;

  static int64_t size(const Layout<real_t>& l) {
    return l.spectrum_size() + l.otf_size();
  }
  static int64_t extra(const Layout<real_t>& l) { return 2 * l.row_block; }

  PsfTerms(const Layout<real_t>& l, const PsfTermsParams<real_t>& p, Team team,
           int64_t item, real_t* memory, const Scratch<real_t>& s)
      : l(l),
        p(p),
        team(team),
        item(item),
        s(s),
        spectrum(memory),
        otf(memory + l.spectrum_size()),
        seen(reach(p.image.window, l.grid)) {}

  void run() const {
    const int64_t all = column_limit(l, reach(p.estimate.window, l.grid));
    const int64_t observed = column_limit(l, seen);
    image_to_spectrum(l, team, p.estimate, item, spectrum, s);
    otf_from_spectrum(l, team, spectrum, all, otf, s);
    convolve_spectrum(l, team, {spectrum, spectrum},
                      p.otf + p.kernel.of(item) * l.otf_size(), false, {all, observed},
                      s);
    divide();
    correlate(p.correction);
    if (!p.light) return;
    enter_observed();
    correlate(p.light);
  }

 private:
  void correlate(const Field<real_t>& out) const {
    const ColumnLimits limits{column_limit(l, seen),
                              column_limit(l, reach(out.window, l.grid))};
    convolve_spectrum(l, team, {spectrum, spectrum}, otf, true, limits, s);
    spectrum_to_image(l, team, spectrum, out, item, s);
  }

  // Row block b of plane z of an image, in one of two places of this thread.
  const real_t* rows(const Field<const real_t>& f, int64_t z, int64_t b, real_t fill,
                     int64_t place) const {
    if (!f) return nullptr;
    real_t* const at = s.extra + place * l.row_block;
    load_rows(l, f, item, z, b * l.kStep, fill, at, s);
    return at;
  }

  void divide() const {
    each_plane(l, team, seen, [&](int64_t z, RowBlocks blocks) {
      const auto ratio = [&](int64_t b) -> RatioOp<real_t> {
        return {rows(p.image, z, b, real_t(-1), 0),
                rows(p.background_map, z, b, real_t(0), 1),
                nullptr,
                broadcast(p.background),
                broadcast(p.floor[item]),
                V{},
                nullptr,
                0};
      };
      turn_plane(l, spectrum + z * l.plane, seen.y, blocks, ratio, s);
    });
  }

  void enter_observed() const {
    each_plane(l, team, seen, [&](int64_t z, RowBlocks blocks) {
      const auto enter = [&](int64_t b) {
        return [this, image = rows(p.image, z, b, real_t(-1), 0)](real_t* line) {
          const V one = V{} + 1;
          for (int64_t i = 0; i < l.row_block; i += l.kLanes) {
            store_aligned(line + i, V(load_aligned(image + i) < V{} ? V{} : one));
          }
        };
      };
      enter_plane(l, spectrum + z * l.plane, seen.y, blocks, enter, s);
    });
  }

  const Layout<real_t>& l;
  const PsfTermsParams<real_t>& p;
  const Team team;
  const int64_t item;
  const Scratch<real_t>& s;
  real_t *const spectrum, *const otf;
  const Extents seen;
};

template <class real_t>
void psf_terms(const PsfTermsParams<real_t>& p) {
  const auto layout = layout_of<real_t>(p.grid);
  run_job(
      *layout, p.batch, PsfTerms<real_t>::size(*layout), p.threads,
      [&](Team team, int64_t b, real_t* memory, const Scratch<real_t>& s) {
        PsfTerms<real_t>(*layout, p, team, b, memory, s).run();
      },
      PsfTerms<real_t>::extra(*layout));
}

OTFUSE_END_ISA_NAMESPACE
