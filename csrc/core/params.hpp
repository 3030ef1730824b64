// SPDX-License-Identifier: BSD-3-Clause
// What a launcher is told: plain sizes and pointers. Axes are (z, y, x), x fastest; sizes
// and strides count elements, not bytes. Fewer axes have leading extents of 1.
#pragma once

#include <cstdint>

#include "core/platform.hpp"

namespace otfuse {

OTFUSE_HD constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Extents {
  int64_t z = 1, y = 1, x = 1;
  bool operator==(const Extents&) const = default;
  int64_t count() const { return z * y * x; }
};

// Where an array lies on the periodic grid of the transform: its first element at
// `offset` (0 <= offset < grid), its extents at most the grid's; it may wrap around.
struct Window {
  Extents offset, extent;
};

template <class real_t>
struct Field {
  real_t* data = nullptr;  // (batch, z, y, x)
  Extents stride;
  int64_t batch_stride = 0;
  Window window;

  OTFUSE_HD explicit operator bool() const { return data != nullptr; }
};

// Shares of a window's values: products of a number along each axis; none: all of them.
template <class real_t>
struct Shares {
  const real_t *z = nullptr, *y = nullptr, *x = nullptr;

  explicit operator bool() const { return z != nullptr; }
};

// Item b of a batch is blurred with kernel (b / inner) % kernels.
struct KernelIndex {
  int64_t kernels = 1, inner = 1;
  OTFUSE_HD int64_t of(int64_t b) const { return (b / inner) % kernels; }
};

template <class real_t>
struct OtfParams {
  Extents grid;
  int64_t kernels;
  Field<const real_t> kernel;
  real_t* otf;  // (kernels, otf_size)
  int threads;
};

// out = image convolved with kernel, circularly over the grid; adjoint: correlated.
template <class real_t>
struct FftConvolveParams {
  Extents grid;
  int64_t batch;
  Field<const real_t> image;  // zero outside its window
  const real_t* otf;
  KernelIndex kernel;
  Field<real_t> out;
  bool adjoint;
  int threads;
  Shares<real_t> shares = {};  // of the image, or with `adjoint` of what is added
  bool add = false;            // to what `out` holds
};

// What an update of the PSF asks for: the sums over pixels n of y_n / (h x + b)_n and of
// the pixels observed, each times x at n less the place in the PSF.
template <class real_t>
struct PsfTermsParams {
  Extents grid;
  int64_t batch;
  Field<const real_t> image;  // negative: not observed, like everything outside
  Field<const real_t> estimate;
  const real_t* otf;
  KernelIndex kernel;
  const real_t* floor;  // (batch)
  real_t background;
  Field<const real_t> background_map;  // added to it; none: 0
  Field<real_t> correction, light;     // on the PSF's window, one for each item; the
                                       // second may be none
  int threads;
};

enum class Acceleration { kNone, kShb, kBiggs };

// How the corrections that several views of an object ask for become one.
enum class Joint { kAdditive, kMultiplicative, kSequential };

template <class real_t>
struct RichardsonLucyParams {
  Extents grid;
  int64_t batch;
  Field<const real_t>
      image;  // negative: not observed, like everything outside its window
  const real_t* otf;
  const real_t* otf_back;  // of the back projector; none: the blur's own
  KernelIndex kernel;
  Field<const real_t> estimate;  // where the iterations start
  Field<const real_t> previous;  // shb: the estimate before that; biggs: the point that
                                 // the first iteration starts from; none: the estimate
  Field<const real_t> change;    // biggs: what the last iteration added; none: 0
  Field<real_t> out;
  Field<real_t> out_previous, out_change;  // to go on from; none: not wanted
  double* divergence;                      // (batch, n_iters); none: not wanted
  Field<const real_t> judged;              // what it is taken from; none: the image
  real_t judged_offset;                    // of the model, not in `judged`
  Field<const real_t> second;              // another half of the photons, where `image`
                                           // is one, for a consensus of both; or none
  double* agreed;                          // (batch, n_iters): voxels on which both agree
  double fewest;        // of those for a run to go on: after fewer it ends
  const real_t* floor;  // (batch)
  real_t background;
  Field<const real_t> background_map;  // added to it; none: 0
  int64_t n_iters, first_iteration;    // iterations already done, for the momentum
  Acceleration acceleration;
  real_t tv;                   // weight of the total variation; 0: none
  real_t per_z, per_y, per_x;  // its voxels to a unit of length
  bool weighted;               // divide by H^T 1: edges or masks lose light
  int64_t views = 0;  // of several: view v of item b is item v batch + b of `image` and
                      // `background_map`, its kernel v kernels + the item's; 0: one image
  Joint joint = Joint::kAdditive;
  Extents nodes{};  // of a PSF that varies over the estimate: node n, counted as voxels
                    // are, has kernel n kernels + the item's
  Shares<real_t> shares{};   // of each place's light: (nodes, the grid) along each axis
  bool (*poll)() = nullptr;  // true ends the run early; none: never
  int threads = 1;
};

enum class RatioMode { kClamp, kAdd };

template <class real_t>
struct RlRatioParams {
  int64_t count;
  const real_t *image, *reblurred, *background;
  real_t floor;
  RatioMode mode;
  real_t* out;
  int threads;
};

template <class real_t>
struct RlUpdateParams {
  int64_t count;
  const real_t *estimate, *correction, *weight;  // weight: none means 1
  real_t* out;
  int threads;
  bool clamp = false;  // the correction to what is not negative
};

// A symbol as a sum of terms: weight (outs, ins, terms) times basis (terms, ny, nx / 2 +
// 1), complex.
template <class real_t>
struct SymbolFactors {
  const real_t *weight = nullptr, *basis = nullptr;
  int64_t terms = 0;
};

// Channels of flat images mixed at every frequency by `symbol` (outs, ins, ny, nx / 2 +
// 1), complex, or where that is none by `factors`; adjoint: by its conjugate transpose,
// with outs and ins those of the result.
template <class real_t>
struct SpectralMixParams {
  Extents grid;
  int64_t batch, outs, ins;
  Field<const real_t> x;  // (batch ins)
  const real_t* symbol;
  bool adjoint;
  Field<real_t> out;           // (batch outs)
  Field<const real_t> grad_y;  // (batch outs), and
  real_t* grad_symbol;         // its derivative: only where that is wanted
  int threads;
  SymbolFactors<real_t> factors{};
};

}  // namespace otfuse
