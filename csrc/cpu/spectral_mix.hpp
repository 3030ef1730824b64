// SPDX-License-Identifier: BSD-3-Clause
// Channels of flat images mixed at every frequency: y_o = F^-1 sum_i M_oi F x_i, with M
// given on the half spectrum in natural order or in factors, and the derivative of that
// in M. Per part of the batch three passes: every channel's transform in, all columns'
// mixing (the symbol is read, or made, once), every channel's transform out. Bytes per
// pixel and channel: the pixel twice, its spectrum four times.
#pragma once

#include "cpu/fft_convolve.hpp"
#include "cpu/mix_matrix.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// Spectra of more images than this would leave the caches between the passes.
inline constexpr int64_t kSpectraBytes = int64_t(16) << 20;

template <class real_t>
class SpectralMix {
  static constexpr int kLanes = Simd<real_t>::kLanes, kStep = 2 * kLanes;
  using V = Complex<Lanes<real_t>>;
  using C = Complex<real_t>;

 public:
  const HalfSpectrum<real_t> at;

  SpectralMix(const Layout<real_t>& l, int64_t outs, int64_t ins)
      : at(l), l(l), outs(outs), ins(ins) {}

  // Reals of scratch that a thread takes.
  static int64_t work(int64_t outs, int64_t ins, int64_t terms) {
    return ceil_div(outs * ins * (kStep + 4), kStep) * kStep +
           FactoredMatrix<real_t>::work(terms);
  }

  void transform_in(const Field<const real_t>& f, int64_t item, real_t* spectrum,
                    const Scratch<real_t>& s) const {
    image_to_spectrum(l, Team{false}, f, item, spectrum, s);
    for (int64_t c = 0; c < l.kx_blocks; ++c) {
      const auto line = contiguous_line(spectrum + l.column_offset(c), l.y.n);
      forward_line(l.y, line, line, s.chirp);
    }
  }

  void transform_out(real_t* spectrum, const Field<real_t>& f, int64_t item,
                     const Scratch<real_t>& s) const {
    for (int64_t c = 0; c < l.kx_blocks; ++c) {
      const auto line = contiguous_line(spectrum + l.column_offset(c), l.y.n);
      inverse_line(l.y, line, line, s.chirp);
    }
    spectrum_to_image(l, Team{false}, spectrum, f, item, s);
  }

  // Place p of kx block `block`: out_o = sum_i M_oi in_i for every image. Lane 0 of the
  // first block is DC + i Nyquist (cpu/columns.hpp), or DC alone, and done on its own.
  template <class Matrix>
  void mix(const Matrix& m, int64_t block, int64_t p, int64_t batch, const real_t* in,
           real_t* out, real_t* own) const {
    real_t* const matrix = own;
    real_t* const work = own + SpectralMix::work(outs, ins, 0);
    m.load(block, p, work, matrix);
    const int64_t place = block * l.grid.y * kStep + p * kStep;
    for (int64_t b = 0; b < batch; ++b) {
      const real_t* x = in + b * ins * l.plane + place;
      real_t* y = out + b * outs * l.plane + place;
      int64_t o = 0;
      for (; o + 4 <= outs; o += 4) mix_outputs<4>(x, y, matrix, o);
      for (; o < outs; ++o) mix_outputs<1>(x, y, matrix, o);
    }
    if (block != 0) return;
    real_t* const edges = own + outs * ins * kStep;
    m.load_edges(p, edges);
    mix_lane_0(edges, p, batch, in, out);
  }

  // The same place of the derivative in the symbol: sum_b out_o conj(in_i).
  void correlate(int64_t block, int64_t p, int64_t batch, const real_t* in,
                 const real_t* out, real_t* grad) const {
    const int64_t place = block * l.grid.y * kStep + p * kStep;
    const real_t scale = real_t(2.0 / (4.0 * double(l.grid.count())));
    const int64_t first = block * kLanes, end = std::min(first + kLanes, l.kx_count);
    for (int64_t o = 0; o < outs; ++o) {
      for (int64_t i = 0; i < ins; ++i) {
        V sum = zero_complex<real_t>();
        for (int64_t b = 0; b < batch; ++b) {
          const auto g = load_complex<real_t>(out + (b * outs + o) * l.plane + place);
          const auto x = load_complex<real_t>(in + (b * ins + i) * l.plane + place);
          sum = sum + multiply_conj(g, x);
        }
        real_t* row = grad + (o * ins + i) * at.size() + at.row(p);
        for (int64_t k = std::max<int64_t>(first, 1); k < end; ++k) {
          row[2 * k] += scale * sum.re[k - first];
          row[2 * k + 1] += scale * sum.im[k - first];
        }
      }
    }
    if (block == 0) correlate_lane_0(p, batch, in, out, grad);
  }

 private:
  template <int kOuts>
  void mix_outputs(const real_t* x, real_t* y, const real_t* matrix, int64_t o) const {
    V sums[kOuts];
    unroll<kOuts>([&](auto j) OTFUSE_LAMBDA { sums[j] = zero_complex<real_t>(); });
    for (int64_t i = 0; i < ins; ++i) {
      const auto v = load_complex<real_t>(x + i * l.plane);
      const real_t* m = matrix + (o * ins + i) * kStep;
      unroll<kOuts>([&](auto j) OTFUSE_LAMBDA {
        const auto h = load_complex<real_t>(m + int64_t(j) * ins * kStep);
        sums[j] = sums[j] + multiply(v, h);
      });
    }
    unroll<kOuts>([&](auto j) OTFUSE_LAMBDA {
      store_complex(y + (o + int64_t(j)) * l.plane, sums[j]);
    });
  }

  // DC and Nyquist of a channel at a place, out of lane 0.
  struct Pair {
    C dc, nyquist;
  };
  Pair split(const real_t* spectrum, int64_t p) const {
    const real_t* a = spectrum + p * kStep;
    const real_t* b = spectrum + l.y.mirror[p] * kStep;
    if (!l.packed) return {{a[0], a[kLanes]}, {0, 0}};
    return {{(a[0] + b[0]) / 2, (a[kLanes] - b[kLanes]) / 2},
            {(a[kLanes] + b[kLanes]) / 2, (b[0] - a[0]) / 2}};
  }

  void mix_lane_0(const real_t* edges, int64_t p, int64_t batch, const real_t* in,
                  real_t* out) const {
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t o = 0; o < outs; ++o) {
        real_t* y = out + (b * outs + o) * l.plane + p * kStep;
        y[0] = y[kLanes] = 0;
      }
    }
    for (int64_t o = 0; o < outs; ++o) {
      for (int64_t i = 0; i < ins; ++i) {
        const real_t* m = edges + 4 * (o * ins + i);
        const C h{m[0], m[1]}, n{m[2], m[3]};
        for (int64_t b = 0; b < batch; ++b) {
          const Pair x = split(in + (b * ins + i) * l.plane, p);
          const C dc = multiply(x.dc, h), ny = multiply(x.nyquist, n);
          real_t* y = out + (b * outs + o) * l.plane + p * kStep;
          y[0] += dc.re - ny.im;
          y[kLanes] += dc.im + ny.re;
        }
      }
    }
  }

  void correlate_lane_0(int64_t p, int64_t batch, const real_t* in, const real_t* out,
                        real_t* grad) const {
    const real_t once = real_t(1.0 / (4.0 * double(l.grid.count())));
    for (int64_t o = 0; o < outs; ++o) {
      for (int64_t i = 0; i < ins; ++i) {
        C dc{0, 0}, nyquist{0, 0};
        for (int64_t b = 0; b < batch; ++b) {
          const Pair g = split(out + (b * outs + o) * l.plane, p);
          const Pair x = split(in + (b * ins + i) * l.plane, p);
          dc = dc + multiply_conj(g.dc, x.dc);
          nyquist = nyquist + multiply_conj(g.nyquist, x.nyquist);
        }
        real_t* row = grad + (o * ins + i) * at.size() + at.row(p);
        row[0] += once * dc.re;
        row[1] += once * dc.im;
        if (!l.packed) continue;
        row[l.grid.x] += once * nyquist.re;  // 2 (nx / 2)
        row[l.grid.x + 1] += once * nyquist.im;
      }
    }
  }

  const Layout<real_t>& l;
  const int64_t outs, ins;
};

// f(first image, images, spectra of their x, of their y, the thread's work, scratch) for
// each part of the batch.
template <class real_t, class F>
void each_part(const SpectralMixParams<real_t>& p, const Layout<real_t>& l, F f) {
  if (p.batch == 0) return;
  constexpr int64_t kStep = Layout<real_t>::kStep;
  const int64_t image = (p.outs + p.ins) * l.plane;
  const int64_t fit =
      std::max<int64_t>(kSpectraBytes / (image * int64_t(sizeof(real_t))), 1);
  const int64_t most = ceil_div(p.batch, ceil_div(p.batch, fit));  // parts of one extent
  const int64_t work = SpectralMix<real_t>::work(p.outs, p.ins, p.factors.terms);
  const int64_t thread = work + ceil_div(Scratch<real_t>::size(l), kStep) * kStep;
  const int64_t reals = most * image + p.threads * thread;
  const Workspace workspace(size_t(reals) * sizeof(real_t));
  real_t* const in = static_cast<real_t*>(workspace.data());
  real_t* const out = in + most * p.ins * l.plane;
#pragma omp parallel num_threads(p.threads)
  {
    real_t* const own = in + most * image + omp_get_thread_num() * thread;
    const Scratch<real_t> scratch(l, own + work);
    for (int64_t first = 0; first < p.batch; first += most) {
      f(first, std::min(most, p.batch - first), in, out, own, scratch);
    }
  }
}

// f(kx block, place along y); neighbours share pages of every channel: a task takes
// several.
template <class real_t, class F>
void each_place(const Team& team, const Layout<real_t>& l, F f) {
  constexpr int64_t kPlaces = 16;
  const int64_t runs = ceil_div(l.grid.y, kPlaces);
  team.each(l.kx_blocks * runs, [&](int64_t i) {
    const int64_t first = i % runs * kPlaces;
    const int64_t last = std::min(first + kPlaces, l.grid.y);
    for (int64_t p = first; p < last; ++p) f(i / runs, p);
  });
}

// out (batch, outs, ny, nx) from x (batch, ins, ny, nx).
template <class real_t, class Matrix>
void mix_all(const SpectralMixParams<real_t>& p, const Layout<real_t>& l,
             const SpectralMix<real_t>& mixer, const Matrix& matrix) {
  const Team team{true};
  each_part(p, l,
            [&](int64_t first, int64_t count, real_t* in, real_t* out, real_t* own,
                const Scratch<real_t>& s) {
              team.each(count * p.ins, [&](int64_t i) {
                mixer.transform_in(p.x, first * p.ins + i, in + i * l.plane, s);
              });
              each_place(team, l, [&](int64_t block, int64_t place) {
                mixer.mix(matrix, block, place, count, in, out, own);
              });
              team.each(count * p.outs, [&](int64_t o) {
                mixer.transform_out(out + o * l.plane, p.out, first * p.outs + o, s);
              });
            });
}

template <class real_t>
void spectral_mix(const SpectralMixParams<real_t>& p) {
  const auto layout = layout_of<real_t>(p.grid);
  const SpectralMix<real_t> mixer(*layout, p.outs, p.ins);
  if (p.symbol == nullptr) {
    mix_all(p, *layout, mixer, FactoredMatrix<real_t>{mixer.at, p});
  } else {
    mix_all(p, *layout, mixer, GivenMatrix<real_t>{mixer.at, p});
  }
}

// The derivative in the symbol, given that of the result.
template <class real_t>
void spectral_mix_symbol(const SpectralMixParams<real_t>& p) {
  const auto layout = layout_of<real_t>(p.grid);
  const Layout<real_t>& l = *layout;
  const SpectralMix<real_t> mixer(l, p.outs, p.ins);
  const Team team{true};
  const int64_t half = p.grid.x / 2 + 1;
  std::fill_n(p.grad_symbol, 2 * p.outs * p.ins * p.grid.y * half, real_t(0));
  each_part(p, l,
            [&](int64_t first, int64_t count, real_t* in, real_t* out, real_t*,
                const Scratch<real_t>& s) {
              team.each(count * (p.ins + p.outs), [&](int64_t i) {
                const int64_t o = i - count * p.ins;
                if (o < 0) {
                  mixer.transform_in(p.x, first * p.ins + i, in + i * l.plane, s);
                } else {
                  mixer.transform_in(p.grad_y, first * p.outs + o, out + o * l.plane, s);
                }
              });
              each_place(team, l, [&](int64_t block, int64_t place) {
                mixer.correlate(block, place, count, in, out, p.grad_symbol);
              });
            });
}

OTFUSE_END_ISA_NAMESPACE
