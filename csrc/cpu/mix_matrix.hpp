// SPDX-License-Identifier: BSD-3-Clause
// The matrices M_oi that mix channels at each frequency of the half spectrum, out of the
// caller's arrays in natural order: L neighbouring kx at a place along y and, apart from
// them, the two columns that share lane 0 of the first block (DC and Nyquist,
// cpu/columns.hpp). Of the adjoint M_oi is conj(M_io).
#pragma once

#include "cpu/layout.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Where the engine's places are in a half spectrum (ny, nx / 2 + 1, 2) in natural order.
template <class real_t>
struct HalfSpectrum {
  static constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;

  const Layout<real_t>& l;
  std::vector<int64_t> natural;  // of each place along y

  explicit HalfSpectrum(const Layout<real_t>& l) : l(l), natural(l.grid.y) {
    for (int64_t k = 0; k < l.grid.y; ++k) natural[l.y.position[k]] = k;
  }

  int64_t width() const { return 2 * (l.grid.x / 2 + 1); }
  int64_t size() const { return width() * l.grid.y; }
  int64_t row(int64_t place) const { return width() * natural[place]; }
  // Undoes the unnormalised transforms and the image's factor 2 (cpu/rows.hpp).
  real_t scale() const { return real_t(0.5 / double(l.grid.count())); }

  // A kx block at a place: L real parts, then L imaginary parts times `sign`.
  void load(const real_t* values, int64_t block, int64_t place, real_t sign,
            real_t* lanes) const {
    const int64_t first = block * kLanes;
    const int64_t count = std::min<int64_t>(kLanes, l.kx_count - first);
    const real_t* from = values + row(place) + 2 * first;
    std::fill_n(lanes, kStep, real_t(0));
    for (int64_t k = 0; k < count; ++k) {
      lanes[k] = scale() * from[2 * k];
      lanes[kLanes + k] = sign * scale() * from[2 * k + 1];
    }
  }

  // The parts of the first column and of Nyquist's (or 0) that make real images, half of
  // M(k) + conj M(-k).
  void load_edges(const real_t* values, int64_t place, real_t sign, real_t* edges) const {
    const real_t half = scale() / 2;
    const auto hermitian = [&](int64_t k, real_t* to) {
      const real_t* here = values + row(place) + 2 * k;
      const real_t* there = values + row(l.y.mirror[place]) + 2 * k;
      to[0] = half * (here[0] + there[0]);
      to[1] = sign * half * (here[1] - there[1]);
    };
    hermitian(0, edges);
    edges[2] = edges[3] = 0;
    if (l.packed) hermitian(l.grid.x / 2, edges + 2);
  }
};

// f(o ins + i, the pair's place among the caller's, which for the adjoint are
// transposed).
template <class real_t, class F>
void each_pair(const SpectralMixParams<real_t>& p, F f) {
  for (int64_t o = 0; o < p.outs; ++o) {
    for (int64_t i = 0; i < p.ins; ++i) {
      f(o * p.ins + i, p.adjoint ? i * p.outs + o : o * p.ins + i);
    }
  }
}

// The caller's own values, (outs, ins) half spectra.
template <class real_t>
struct GivenMatrix {
  const HalfSpectrum<real_t>& at;
  const SpectralMixParams<real_t>& p;

  // A block to (outs, ins, 2 L).
  void load(int64_t block, int64_t place, real_t*, real_t* to) const {
    each_pair(p, [&](int64_t pair, int64_t source) {
      at.load(p.symbol + source * at.size(), block, place, sign(), to + pair * at.kStep);
    });
  }
  // DC and Nyquist to (outs, ins, 4).
  void load_edges(int64_t place, real_t* to) const {
    each_pair(p, [&](int64_t pair, int64_t source) {
      at.load_edges(p.symbol + source * at.size(), place, sign(), to + 4 * pair);
    });
  }
  real_t sign() const { return real_t(p.adjoint ? -1 : 1); }
};

// Sums of terms, weight (outs, ins, terms) times (terms) half spectra: what would be
// written and read again are matrices many times the size of the images. Most terms are
// bands that vanish here, or are real or imaginary: what is 0 is left out.
template <class real_t>
struct FactoredMatrix {
  static constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;

  struct Part {
    Lanes<real_t> lanes;
    int64_t term;
  };
  struct Parts {
    Part* first;
    int64_t count = 0;

    void add(const real_t* lanes, int64_t term) {
      if (std::all_of(lanes, lanes + kLanes, [](real_t v) { return v == 0; })) return;
      first[count++] = {load_aligned(lanes), term};
    }
    Lanes<real_t> sum(const real_t* weight) const {
      Lanes<real_t> total{};
      for (int64_t n = 0; n < count; ++n) {
        total += weight[first[n].term] * first[n].lanes;
      }
      return total;
    }
  };

  const HalfSpectrum<real_t>& at;
  const SpectralMixParams<real_t>& p;

  static int64_t work(int64_t terms) {
    return 2 * terms * int64_t(sizeof(Part) / sizeof(real_t));
  }

  void load(int64_t block, int64_t place, real_t* work, real_t* to) const {
    Parts re{reinterpret_cast<Part*>(work)}, im{re.first + p.factors.terms};
    for (int64_t t = 0; t < p.factors.terms; ++t) {
      alignas(kVectorBytes) real_t lanes[kStep];
      at.load(term(t), block, place, sign(), lanes);
      re.add(lanes, t);
      im.add(lanes + kLanes, t);
    }
    each_pair(p, [&](int64_t pair, int64_t source) {
      const real_t* weight = p.factors.weight + source * p.factors.terms;
      store_aligned(to + pair * kStep, re.sum(weight));
      store_aligned(to + pair * kStep + kLanes, im.sum(weight));
    });
  }

  void load_edges(int64_t place, real_t* to) const {
    std::fill_n(to, 4 * p.outs * p.ins, real_t(0));
    for (int64_t t = 0; t < p.factors.terms; ++t) {
      real_t edges[4];
      at.load_edges(term(t), place, sign(), edges);
      if (std::all_of(edges, edges + 4, [](real_t v) { return v == 0; })) continue;
      each_pair(p, [&](int64_t pair, int64_t source) {
        const real_t weight = p.factors.weight[source * p.factors.terms + t];
        for (int j = 0; j < 4; ++j) to[4 * pair + j] += weight * edges[j];
      });
    }
  }

 private:
  const real_t* term(int64_t t) const { return p.factors.basis + t * at.size(); }
  real_t sign() const { return real_t(p.adjoint ? -1 : 1); }
};

OTFUSE_END_ISA_NAMESPACE
