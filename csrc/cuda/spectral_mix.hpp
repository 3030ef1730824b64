// SPDX-License-Identifier: BSD-3-Clause
// Channels of periodic images mixed at every frequency, and the derivative of that in the
// symbol; mirrors cpu/spectral_mix.hpp. The channels' transforms are the passes of
// cuda/layout.hpp, the product of small matrices at every frequency is one between them.
// Device memory in float32, per pixel and channel: 8 each way along x, 8 for each pass
// along y (and z), 4 each way for the product; the symbol once for every kBlock images.
#pragma once

#include "cuda/layout.hpp"
#include "cuda/network_engine.hpp"

namespace otfuse::cuda {

// Where a frequency of the half spectrum lies.
struct Frequency {
  int64_t natural, mirrored;  // in the symbol, of k and (on a real column) -k
  int64_t place;              // in a spectrum
  bool real_column;           // kx is 0 or Nyquist: real images bind k and -k there
};

// result[r][c] = sum_s left[r][s] right[s][c] at every frequency. A thread makes kBlock
// rows by kBlock columns of one.
template <class real_t, class Formula>
struct FrequencyPass {
  static constexpr int kThreads = 128;
  static constexpr int kBlocksPerMultiprocessor = sizeof(real_t) == 4 ? 4 : 3;
  static constexpr int kBlock = 4;
  using C = Complex<real_t>;

  Extents grid;
  LinePlan<real_t> y, z;
  int64_t pitch, kx_count;
  Formula formula;
  int64_t rows, columns, inner;

  FrequencyPass(const Layout<real_t>& l, const Formula& formula, int64_t rows,
                int64_t columns, int64_t inner)
      : grid(l.grid),
        y(l.y),
        z(l.z),
        pitch(l.pitch),
        kx_count(l.kx_count),
        formula(formula),
        rows(rows),
        columns(columns),
        inner(inner) {}

  int64_t blocks() const { return tiles() * ceil_div(rows, kBlock) * column_blocks(); }

  template <class Block>
  OTFUSE_HD void operator()(Block& block) const {
    const int64_t c = block.index % column_blocks() * kBlock;
    const int64_t rest = block.index / column_blocks();
    const int64_t r = rest / tiles() * kBlock, first = rest % tiles() * kThreads;
    block.phase([&](int t) {
      if (first + t < frequencies()) product(frequency(first + t), r, c);
    });
  }

 private:
  OTFUSE_HD int64_t frequencies() const { return grid.z * grid.y * kx_count; }
  OTFUSE_HD int64_t tiles() const { return (frequencies() + kThreads - 1) / kThreads; }
  OTFUSE_HD int64_t column_blocks() const { return (columns + kBlock - 1) / kBlock; }

  OTFUSE_HD Frequency frequency(int64_t natural) const {
    const int64_t kx = natural % kx_count, line = natural / kx_count;
    const int64_t ky = line % grid.y, kz = line / grid.y;
    const int64_t my = ky == 0 ? 0 : grid.y - ky, mz = kz == 0 ? 0 : grid.z - kz;
    return {natural, (mz * grid.y + my) * kx_count + kx,
            (z.position[kz] * grid.y + y.position[ky]) * pitch + kx,
            kx == 0 || 2 * kx == grid.x};
  }

  OTFUSE_HD void product(const Frequency& at, int64_t r, int64_t c) const {
    C sums[kBlock][kBlock];
    OTFUSE_UNROLLED
    for (int i = 0; i < kBlock * kBlock; ++i) sums[i / kBlock][i % kBlock] = {0, 0};
    for (int64_t s = 0; s < inner; ++s) {
      C left[kBlock], right[kBlock];
      OTFUSE_UNROLLED
      for (int i = 0; i < kBlock; ++i) {
        left[i] = r + i < rows ? formula.left(at, r + i, s) : C{0, 0};
        right[i] = c + i < columns ? formula.right(at, s, c + i) : C{0, 0};
      }
      OTFUSE_UNROLLED
      for (int i = 0; i < kBlock * kBlock; ++i) {
        C& sum = sums[i / kBlock][i % kBlock];
        sum = sum + multiply(left[i / kBlock], right[i % kBlock]);
      }
    }
    OTFUSE_UNROLLED
    for (int i = 0; i < kBlock * kBlock; ++i) {
      const int64_t row = r + i / kBlock, column = c + i % kBlock;
      if (row < rows && column < columns) {
        formula.store(at, row, column, sums[i / kBlock][i % kBlock]);
      }
    }
  }
};

// Some images' spectra, (item, channel, size).
template <class real_t>
struct Spectra {
  Pair<real_t>* data;
  int64_t channels, size;

  OTFUSE_HD Pair<real_t>& at(const Frequency& f, int64_t item, int64_t channel) const {
    return data[(item * channels + channel) * size + f.place];
  }
};

// out (o, item) = sum over i of M (o, i) in (i, item); of the adjoint conj M (i, o).
template <class real_t>
struct MixFormula {
  using C = Complex<real_t>;
  Spectra<real_t> in, out;
  const Pair<real_t>* symbol;  // (outs, ins, frequencies), of the adjoint (ins, outs, ..)
  int64_t frequencies;
  bool adjoint;
  real_t scale;

  OTFUSE_HD C value(int64_t o, int64_t i, int64_t k) const {
    const int64_t matrix = adjoint ? i * out.channels + o : o * in.channels + i;
    const C m = unpack(symbol[matrix * frequencies + k]);
    return {m.re, adjoint ? -m.im : m.im};
  }
  // On a real column the part that makes real images: half of M(k) + conj M(-k).
  OTFUSE_HD C left(const Frequency& at, int64_t o, int64_t i) const {
    const C m = value(o, i, at.natural);
    if (!at.real_column) return m;
    const C n = value(o, i, at.mirrored);
    return {real_t(0.5) * (m.re + n.re), real_t(0.5) * (m.im - n.im)};
  }
  OTFUSE_HD C right(const Frequency& at, int64_t i, int64_t item) const {
    return unpack(in.at(at, item, i));
  }
  OTFUSE_HD void store(const Frequency& at, int64_t o, int64_t item, const C& v) const {
    out.at(at, item, o) = {scale * v.re, scale * v.im};
  }
};

// d symbol (o, i) = sum over items of d out (o, item) conj in (i, item); columns that are
// not real stand for two frequencies.
template <class real_t>
struct SymbolFormula {
  using C = Complex<real_t>;
  Spectra<real_t> in, grad_out;
  Pair<real_t>* grad_symbol;  // (outs, ins, frequencies)
  int64_t frequencies;
  real_t scale;

  OTFUSE_HD C left(const Frequency& at, int64_t o, int64_t item) const {
    return unpack(grad_out.at(at, item, o));
  }
  OTFUSE_HD C right(const Frequency& at, int64_t item, int64_t i) const {
    const C v = unpack(in.at(at, item, i));
    return {v.re, -v.im};
  }
  OTFUSE_HD void store(const Frequency& at, int64_t o, int64_t i, const C& v) const {
    const real_t by = at.real_column ? scale : 2 * scale;
    grad_symbol[(o * in.channels + i) * frequencies + at.natural] = {by * v.re,
                                                                     by * v.im};
  }
};

template <class real_t, class Launch>
Spectra<real_t> spectra_of(const Field<const real_t>& images, int64_t batch,
                           int64_t channels, const Layout<real_t>& l, void* memory,
                           const Launch& launch) {
  const Spectra<real_t> spectra{static_cast<Pair<real_t>*>(memory), channels, l.size()};
  const Passes<real_t, Launch> passes(l, batch * channels, spectra.data, launch);
  passes.template rows<RowMode::kEnter>(FieldSource<real_t>{images, l.grid}, l.grid);
  passes.forward(l.grid, 1);
  return spectra;
}

// The factor 2 of the rows' transforms and their extents are undone here.
template <class real_t, class Launch>
void spectral_mix(const SpectralMixParams<real_t>& p, const Tables& tables,
                  void* workspace, const Launch& launch) {
  const Layout<real_t> l(p.grid, tables);
  const auto in = spectra_of(p.x, p.batch, p.ins, l, workspace, launch);
  const Spectra<real_t> out{in.data + p.batch * p.ins * l.size(), p.outs, l.size()};
  const MixFormula<real_t> formula{in,
                                   out,
                                   reinterpret_cast<const Pair<real_t>*>(p.symbol),
                                   p.grid.z * p.grid.y * l.kx_count,
                                   p.adjoint,
                                   real_t(0.5 / double(p.grid.count()))};
  const FrequencyPass<real_t, MixFormula<real_t>> mix(l, formula, p.outs, p.batch, p.ins);
  launch(mix, mix.blocks(), 0);
  const Passes<real_t, Launch> passes(l, p.batch * p.outs, out.data, launch);
  passes.inverse(p.grid);
  passes.template rows<RowMode::kLeave>(FieldSink<real_t>{p.out, p.grid}, p.grid);
}

template <class real_t, class Launch>
void spectral_mix_symbol(const SpectralMixParams<real_t>& p, const Tables& tables,
                         void* workspace, const Launch& launch) {
  const Layout<real_t> l(p.grid, tables);
  const auto in = spectra_of(p.x, p.batch, p.ins, l, workspace, launch);
  void* const rest = in.data + p.batch * p.ins * l.size();
  const auto grad_out = spectra_of(p.grad_y, p.batch, p.outs, l, rest, launch);
  const SymbolFormula<real_t> formula{
      in, grad_out, reinterpret_cast<Pair<real_t>*>(p.grad_symbol),
      p.grid.z * p.grid.y * l.kx_count, real_t(0.25 / double(p.grid.count()))};
  const FrequencyPass<real_t, SymbolFormula<real_t>> product(l, formula, p.outs, p.ins,
                                                             p.batch);
  launch(product, product.blocks(), 0);
}

// make(queue) gives what launches there.
template <class real_t, auto make>
constexpr SpectralEngine<real_t> make_spectral_engine() {
  return {
      [](const SpectralMixParams<real_t>& p, const Tables& t, void* memory,
         const Queue& q) { spectral_mix(p, t, memory, make(q)); },
      [](const SpectralMixParams<real_t>& p, const Tables& t, void* memory,
         const Queue& q) { spectral_mix_symbol(p, t, memory, make(q)); },
  };
}

}  // namespace otfuse::cuda
