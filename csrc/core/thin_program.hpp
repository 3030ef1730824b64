// SPDX-License-Identifier: BSD-3-Clause
// A network of thin-channel layers on images, as data: buffers of some channels at a
// scale, and steps that make one from others. Buffer 0 is the image.
#pragma once

#include <cstdint>
#include <vector>

#include "core/thin_params.hpp"

namespace otfuse {

struct ThinBuffer {
  int64_t channels;
  int level;   // its extents are those of the image over 2^level
  int parent;  // the buffer that it is a part of, from channel `first` on; -1: none
  int64_t first;
};

enum class StepKind {
  kConv,      // a convolution of the sources side by side
  kPixelMlp,  // dense layers on every pixel of one source
  kPick,      // every 2^n-th pixel of one source
  kResize,    // one source interpolated bilinearly: 2 or 4 times as large, or half
};

struct ThinStep {
  StepKind kind;
  int out;
  int added;  // a buffer of one channel, added to all of the input; -1: none
  int start;  // a buffer that the sums of a convolution start from; -1: none
  Activation activation;
  int64_t activated;      // output channels that it applies to, the first ones
  int parameter, layers;  // the first of its weights and biases, in turn
  std::vector<int> sources;
};

// A program and where its buffers may lie: those that are not needed any more make room.
struct ThinProgram {
  std::vector<ThinBuffer> buffers;
  std::vector<int> outputs;
  std::vector<ThinStep> steps;

  // From a list of numbers: counts, then what is counted; the layout is told in the ops.
  // Throws std::invalid_argument where it does not make sense.
  explicit ThinProgram(const std::vector<int64_t>& code);

  // The buffer that holds this one.
  int whole(int buffer) const;
  Extents extent(int buffer, const Extents& image) const;
  // Elements from one channel to the next: an odd number of cache lines, so that channels
  // do not compete for the same ones.
  int64_t channel_stride(int buffer, const Extents& image) const;
  // Where each buffer lies; -1 for the image and the outputs. Last: elements in all.
  std::vector<int64_t> place(const Extents& image) const;
};

// A weight or a bias: (channels_out, channels_in, ky, kx) or (channels_out).
template <class real_t>
struct ThinParameter {
  const real_t* data;
  int64_t channels_out, channels_in, ky, kx;
};

template <class real_t>
struct ThinNetworkParams {
  const ThinProgram* program;
  std::vector<ThinParameter<real_t>> parameters;
  int64_t batch;
  Extents extent;                // of the image; z = 1
  const real_t* image;           // (batch, y, x)
  std::vector<real_t*> outputs;  // (batch, channels, y, x) each
  int threads;
};

}  // namespace otfuse
