// SPDX-License-Identifier: BSD-3-Clause
// Runs a program of thin-channel layers, one launch a step, over as many images at a time
// as kWorkspaceBytes hold; mirrors cpu/thin_network.hpp. Device memory: every step's
// sources and result.
#pragma once

#include "cuda/conv_thin.hpp"
#include "cuda/network_engine.hpp"
#include "cuda/pixel_mlp.hpp"
#include "cuda/thin_resize.hpp"

namespace otfuse::cuda {

inline constexpr int64_t kWorkspaceBytes = int64_t(2) << 30;

// Where the buffers of some images lie; the images' regions side by side.
template <class real_t>
class ThinImages {
 public:
  explicit ThinImages(const ThinNetworkParams<real_t>& p)
      : p_(p), places_(p.program->place(p.extent)), reals_(places_.back()) {
    const int64_t bytes = reals_ * int64_t(sizeof(real_t));
    const int64_t most = kWorkspaceBytes / std::max<int64_t>(bytes, 1);
    at_once_ = std::min(std::max<int64_t>(most, 1), p.batch);
  }

  int64_t at_once() const { return at_once_; }
  int64_t bytes() const { return at_once_ * reals_ * int64_t(sizeof(real_t)); }

  // A buffer of the images from number `first` on.
  ThinSource<real_t> source(int buffer, int64_t first, const real_t* memory) const {
    const ThinProgram& program = *p_.program;
    const ThinBuffer& part = program.buffers[size_t(buffer)];
    const int64_t channels = part.channels;
    if (part.parent >= 0) {
      const ThinSource<real_t> whole = source(part.parent, first, memory);
      return {whole.data + part.first * whole.channel_stride, channels,
              whole.batch_stride, whole.channel_stride};
    }
    const int64_t pixels = program.extent(buffer, p_.extent).count();
    const auto whole = [&](const real_t* data) {
      const int64_t image = channels * pixels;
      return ThinSource<real_t>{data + first * image, channels, image, pixels};
    };
    if (buffer == 0) return whole(p_.image);
    for (size_t i = 0; i < p_.outputs.size(); ++i) {
      if (program.outputs[i] == buffer) return whole(p_.outputs[i]);
    }
    return {memory + places_[size_t(buffer)], channels, reals_,
            program.channel_stride(buffer, p_.extent)};
  }

 private:
  const ThinNetworkParams<real_t>& p_;
  std::vector<int64_t> places_;
  int64_t reals_, at_once_;
};

template <class real_t, class Launch>
class ThinSteps {
 public:
  ThinSteps(const ThinNetworkParams<real_t>& p, const ThinImages<real_t>& images,
            int64_t first, real_t* memory, const Launch& launch)
      : p_(p),
        images_(images),
        first_(first),
        batch_(std::min(images.at_once(), p.batch - first)),
        memory_(memory),
        launch_(launch) {}

  void run(const ThinStep& step) const {
    switch (step.kind) {
      case StepKind::kConv:
        return convolve(step);
      case StepKind::kPixelMlp:
        return mlp(step);
      case StepKind::kPick:
      case StepKind::kResize:
        return resize(step);
    }
  }

 private:
  using Source = ThinSource<real_t>;

  Source source(int buffer) const { return images_.source(buffer, first_, memory_); }
  static real_t* data(const Source& of_result) {
    return const_cast<real_t*>(of_result.data);
  }
  Extents extent(int buffer) const { return p_.program->extent(buffer, p_.extent); }
  const ThinParameter<real_t>& parameter(int i) const { return p_.parameters[size_t(i)]; }

  void convolve(const ThinStep& step) const {
    const auto& w = parameter(step.parameter);
    const Source out = source(step.out);
    ConvThinParams<real_t> c{};
    c.batch = batch_;
    c.extent = extent(step.out);
    for (int s : step.sources) c.sources.push_back(source(s));
    if (step.added >= 0) c.added = source(step.added);
    if (step.start >= 0) c.start = source(step.start);
    c.channels_in = w.channels_in;
    c.channels_out = w.channels_out;
    c.kernel = {1, w.ky, w.kx};
    c.weight = w.data;
    c.bias = parameter(step.parameter + 1).data;
    c.activation = step.activation;
    c.activated = step.activated;
    c.out = data(out);
    c.out_batch_stride = out.batch_stride;
    c.out_channel_stride = out.channel_stride;
    conv_thin(c, launch_);
  }

  void mlp(const ThinStep& step) const {
    PixelMlpParams<real_t> m{};
    m.batch = batch_;
    m.pixels = extent(step.out).count();
    for (int i = 0; i < step.layers; ++i) {
      const auto& w = parameter(step.parameter + 2 * i);
      const real_t* bias = parameter(step.parameter + 2 * i + 1).data;
      m.layers.push_back({w.data, bias, w.channels_in, w.channels_out});
    }
    auto pass = pixel_mlp_pass(m);
    pass.input = source(step.sources[0]);
    const Source out = source(step.out);
    pass.out = data(out);
    pass.out_batch_stride = out.batch_stride;
    pass.out_channel_stride = out.channel_stride;
    launch_(pass, pass.blocks(batch_), pass.shared_bytes());
  }

  void resize(const ThinStep& step) const {
    const Source out = source(step.out);
    const ResizePass<real_t> pass{source(step.sources[0]),
                                  data(out),
                                  out.batch_stride,
                                  out.channel_stride,
                                  extent(step.sources[0]),
                                  extent(step.out),
                                  step.kind == StepKind::kPick};
    launch_(pass, pass.blocks(batch_), 0);
  }

  const ThinNetworkParams<real_t>& p_;
  const ThinImages<real_t>& images_;
  int64_t first_, batch_;
  real_t* memory_;
  const Launch& launch_;
};

template <class real_t>
int64_t thin_network_bytes(const ThinNetworkParams<real_t>& p) {
  return ThinImages<real_t>(p).bytes();
}

template <class real_t, class Launch>
void thin_network(const ThinNetworkParams<real_t>& p, void* workspace,
                  const Launch& launch) {
  check_program(p);
  const ThinImages<real_t> images(p);
  auto* const memory = static_cast<real_t*>(workspace);
  for (int64_t first = 0; first < p.batch; first += images.at_once()) {
    const ThinSteps<real_t, Launch> steps(p, images, first, memory, launch);
    for (const ThinStep& step : p.program->steps) steps.run(step);
  }
}

// make(queue) gives what launches there.
template <class real_t, auto make>
constexpr ThinEngine<real_t> make_thin_engine() {
  return {
      [](const ConvThinParams<real_t>& p, const Queue& q) { conv_thin(p, make(q)); },
      &pixel_mlp_bytes<real_t>,
      [](const PixelMlpParams<real_t>& p, const Queue& q) { pixel_mlp(p, make(q)); },
      &thin_network_bytes<real_t>,
      [](const ThinNetworkParams<real_t>& p, void* memory, const Queue& q) {
        thin_network(p, memory, make(q));
      },
  };
}

}  // namespace otfuse::cuda
