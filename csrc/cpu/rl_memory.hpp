// SPDX-License-Identifier: BSD-3-Clause
// The arrays of one image in the Richardson-Lucy loop, cut from one piece of memory.
#pragma once

#include "cpu/job.hpp"
#include "cpu/node_planes.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class real_t>
struct RlMemory {
  real_t *spectrum, *image, *background_map, *judged;  // the last two may be none; of
                                                       // several views one after another
  real_t *estimate, *weight, *change;                  // likewise
  real_t *second, *second_spectrum, *correction;  // of two halves' consensus; likewise
  real_t* share;     // 1 over the number of views that see a voxel, or 0; may be none
  real_t* previous;  // a second estimate: the one before, or the point of an iteration
  double* partial;   // I-divergence of each row block of the image; sums of "biggs"

  static int64_t partials(const Layout<real_t>& l, const Extents& e) {
    return e.z * l.row_blocks(e.y);
  }

  static int64_t size(const Layout<real_t>& l, const RichardsonLucyParams<real_t>& p) {
    int64_t end = 0;
    RlMemory().place(l, p, [&](int64_t count) -> real_t* {
      end += count;
      return nullptr;
    });
    return ceil_div(end, l.kStep) * l.kStep;
  }

  RlMemory(const Layout<real_t>& l, const RichardsonLucyParams<real_t>& p,
           real_t* memory) {
    place(l, p, [&](int64_t count) {
      real_t* const at = memory;
      memory += count;
      return at;
    });
  }

 private:
  RlMemory() = default;

  template <class Take>
  void place(const Layout<real_t>& l, const RichardsonLucyParams<real_t>& p, Take take) {
    const Extents seen = reach(p.image.window, l.grid);
    const int64_t part = l.real_size(seen.z, seen.y);
    const int64_t whole = l.real_size(l.grid.z, l.grid.y);
    const auto take_if = [&](bool wanted, int64_t count) {
      return wanted ? take(count) : nullptr;
    };
    const bool biggs = p.acceleration == Acceleration::kBiggs;
    const bool twice = p.acceleration != Acceleration::kNone || p.tv > 0;
    const int64_t views = std::max<int64_t>(p.views, 1);
    const int64_t weights = p.joint == Joint::kAdditive ? 1 : views;
    spectrum = take(l.spectrum_size() * std::max(views, spectra_of_nodes(l, p.nodes)));
    image = take(part * views);
    background_map = take_if(bool(p.background_map), part * views);
    judged = take_if(bool(p.judged), part);
    estimate = take(whole);
    previous = take_if(twice, whole);
    weight = take_if(p.weighted, whole * weights);
    share = take_if(p.weighted && p.views > 0, whole);
    change = take_if(biggs, whole);
    const bool halves = bool(p.second);
    second = take_if(halves, part);
    second_spectrum = take_if(halves, l.spectrum_size());
    correction = take_if(halves, whole);
    const int64_t sums = biggs ? 2 : halves;
    const int64_t doubles = std::max(partials(l, seen), sums * partials(l, l.grid));
    partial = reinterpret_cast<double*>(take(doubles * sizeof(double) / sizeof(real_t)));
  }
};

OTFUSE_END_ISA_NAMESPACE
