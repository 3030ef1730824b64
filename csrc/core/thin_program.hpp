// SPDX-License-Identifier: BSD-3-Clause
// A network of thin-channel layers on images, as data: buffers of some channels at a
// scale, and steps that make one from others. Buffer 0 is the image.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
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

inline void require_program(bool fits, const char* what, int64_t got) {
  if (!fits)
    throw std::invalid_argument(std::string("thin_network: program must ") + what +
                                std::to_string(got));
}

template <class real_t>
void check_step(const ThinNetworkParams<real_t>& p, const ThinStep& step) {
  const auto buffer = [&](int i) { return p.program->buffers[size_t(i)]; };
  const ThinBuffer out = buffer(step.out);
  const auto overwritten = [&](int i) { return p.program->whole(i) == step.out; };
  int64_t taken = 0;
  require_program(overwritten(step.out), "write whole buffers, got number ", step.out);
  require_program(step.start < 0 || (!overwritten(step.start) &&
                                     buffer(step.start).level == out.level &&
                                     buffer(step.start).channels == out.channels),
                  "start from a buffer like the one it makes, got number ", step.start);
  for (int s : step.sources) {
    taken += buffer(s).channels;
    require_program(s == 0 || !overwritten(s),
                    "not overwrite what a step reads, got buffer ", s);
    if (step.kind == StepKind::kConv || step.kind == StepKind::kPixelMlp) {
      require_program(buffer(s).level == out.level,
                      "convolve at one scale, got a buffer at ", buffer(s).level);
    }
  }
  if (step.kind == StepKind::kPick || step.kind == StepKind::kResize) {
    require_program(step.sources.size() == 1 && taken == out.channels,
                    "keep the channels where it changes the scale, got ", taken);
    const int finer = buffer(step.sources[0]).level - out.level;
    require_program(
        step.kind == StepKind::kPick ? finer < 0
                                     : finer == -1 || finer == 1 || finer == 2,
        "pick a coarser level, or resize by 2, 4 or a half, got levels ", finer);
    return;
  }
  const int layers = step.kind == StepKind::kConv ? 1 : step.layers;
  const int last = step.parameter + 2 * layers - 1;
  require_program(layers >= 1, "have layers in each step, got ", layers);
  require_program(last < int(p.parameters.size()),
                  "name parameters that are there, got number ", last);
  for (int i = 0; i < layers; ++i) {
    const auto& weight = p.parameters[size_t(step.parameter + 2 * i)];
    const auto& bias = p.parameters[size_t(step.parameter + 2 * i + 1)];
    require_program(weight.channels_in == taken,
                    "give each layer the channels that its weight takes, got ", taken);
    require_program(bias.channels_out == weight.channels_out,
                    "have a bias for each channel of a layer, got ", bias.channels_out);
    taken = weight.channels_out;
  }
  require_program(taken == out.channels, "have room for a layer's channels, got ",
                  out.channels);
}

// Throws std::invalid_argument where a program does not fit its parameters or its images.
template <class real_t>
void check_program(const ThinNetworkParams<real_t>& p) {
  // With a name: of a list in a loop of a template nvcc makes what g++ cannot read.
  const int64_t extents[] = {p.extent.y, p.extent.x};
  for (const ThinBuffer& buffer : p.program->buffers) {
    const int64_t step = int64_t(1) << buffer.level;
    for (const int64_t n : extents) {
      require_program(n >= step && n % step == 0,
                      "run on images whose extents its levels divide, got ", n);
    }
  }
  for (const ThinStep& step : p.program->steps) check_step(p, step);
}

}  // namespace otfuse
