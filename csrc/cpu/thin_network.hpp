// SPDX-License-Identifier: BSD-3-Clause
// Runs a program of thin-channel layers. A thread takes an image through all steps, so
// that what lies between them stays in its caches; images that are too large or too few
// for that are shared by all threads, step by step.
#pragma once

#include <omp.h>

#include "core/thin_program.hpp"
#include "cpu/conv_thin.hpp"
#include "cpu/pixel_mlp.hpp"
#include "cpu/thin_resize.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

// The threads that work on one image, and which of them this one is.
struct ThinTeam {
  int rank = 0, size = 1;

  template <class F>
  void share(int64_t jobs, F f) const {
    for (int64_t job = jobs * rank / size; job < jobs * (rank + 1) / size; ++job) f(job);
  }
  void wait() const {
    if (size > 1) {
#pragma omp barrier
    }
  }
};

template <class real_t>
class ThinNetwork {
 public:
  explicit ThinNetwork(const ThinNetworkParams<real_t>& p)
      : p_(p), program_(*p.program), places_(program_.place(p.extent)) {
    check_program(p);
    for (const ThinStep& step : program_.steps) {
      prepared_.push_back(prepare(step));
      scratch_ = std::max(scratch_, prepared_.back().scratch);
    }
    scratch_ = ThinCut<real_t>::round_up(scratch_);
  }

  int64_t image_reals() const { return ThinCut<real_t>::round_up(places_.back()); }
  int64_t scratch_reals() const { return scratch_; }

  // `memory`: the team's image_reals(); `scratch`: the thread's scratch_reals().
  void run(int64_t batch, const ThinTeam& team, real_t* memory, real_t* scratch) const {
    for (size_t i = 0; i < prepared_.size(); ++i) {
      const ThinStep& step = program_.steps[i];
      const Image image{*this, batch, memory};
      if (step.kind == StepKind::kConv)
        convolve(step, prepared_[i], image, team, scratch);
      if (step.kind == StepKind::kPixelMlp) mlp(step, prepared_[i], image, team, scratch);
      if (step.kind == StepKind::kPick) pick(step, image, team);
      if (step.kind == StepKind::kResize) resize(step, image, team, scratch);
      team.wait();
    }
  }

 private:
  // What a step needs that is the same for every image.
  struct Prepared {
    std::vector<ThinKernel<real_t>> kernel;  // one or none
    std::vector<ThinCut<real_t>> cut;
    std::vector<PixelMlp<real_t>> mlp;
    int64_t scratch = 0;
  };

  // Where the buffers of one image lie.
  struct Image {
    const ThinNetwork& network;
    int64_t batch;
    real_t* memory;

    ThinSource<real_t> source(int buffer) const {
      const ThinProgram& program = network.program_;
      const ThinNetworkParams<real_t>& p = network.p_;
      const ThinBuffer& part = program.buffers[size_t(buffer)];
      const int64_t channels = part.channels;
      if (part.parent >= 0) {
        const ThinSource<real_t> whole = source(part.parent);
        return {whole.data + part.first * whole.channel_stride, channels, 0,
                whole.channel_stride};
      }
      const int64_t pixels = program.extent(buffer, p.extent).count();
      if (buffer == 0) return {p.image + batch * pixels, 1, 0, pixels};
      for (size_t i = 0; i < p.outputs.size(); ++i) {
        if (program.outputs[i] == buffer) {
          return {p.outputs[i] + batch * channels * pixels, channels, 0, pixels};
        }
      }
      return {memory + network.places_[size_t(buffer)], channels, 0,
              program.channel_stride(buffer, p.extent)};
    }
    real_t* target(int buffer) const { return const_cast<real_t*>(source(buffer).data); }
  };

  int level(int buffer) const { return program_.buffers[size_t(buffer)].level; }
  const ThinParameter<real_t>& parameter(int i) const { return p_.parameters[size_t(i)]; }

  Prepared prepare(const ThinStep& step) const {
    Prepared made;
    const Extents n = program_.extent(step.out, p_.extent);
    if (step.kind == StepKind::kConv) {
      const auto& w = parameter(step.parameter);
      made.kernel.emplace_back(w.data, w.channels_in, w.channels_out,
                               Extents{1, w.ky, w.kx}, n.y);
      made.cut.emplace_back(made.kernel[0], row_extent(step, n));
      made.scratch = ThinWorker<real_t>::reals(made.kernel[0], made.cut[0]);
    } else if (step.kind == StepKind::kPixelMlp) {
      std::vector<typename PixelMlp<real_t>::Layer> layers;
      for (int i = 0; i < step.layers; ++i) {
        const auto& w = parameter(step.parameter + 2 * i);
        layers.push_back({w.data, parameter(step.parameter + 2 * i + 1).data,
                          w.channels_in, w.channels_out});
      }
      made.mlp.emplace_back(layers);
      made.scratch = made.mlp[0].reals();
    } else if (step.kind == StepKind::kResize) {
      made.scratch = n.x + 2;
    }
    return made;
  }

  // For a kernel of one pixel an image is one long row: no edges in between.
  Extents row_extent(const ThinStep& step, const Extents& n) const {
    const auto& w = parameter(step.parameter);
    return w.ky == 1 && w.kx == 1 ? Extents{1, 1, n.count()} : n;
  }

  void convolve(const ThinStep& step, const Prepared& made, const Image& image,
                const ThinTeam& team, real_t* scratch) const {
    const ThinKernel<real_t>& kernel = made.kernel[0];
    const ThinCut<real_t>& cut = made.cut[0];
    ConvThinParams<real_t> p{};
    p.batch = 1;
    p.extent = row_extent(step, program_.extent(step.out, p_.extent));
    for (int s : step.sources) p.sources.push_back(image.source(s));
    if (step.added >= 0) p.added = image.source(step.added);
    if (step.start >= 0) p.start = image.source(step.start);
    p.bias = parameter(step.parameter + 1).data;
    p.activation = step.activation;
    p.activated = step.activated;
    p.out = image.target(step.out);
    p.out_channel_stride = image.source(step.out).channel_stride;
    ThinWorker<real_t> worker(p, kernel, cut, scratch);
    team.share(cut.bands * cut.stripes,
               [&](int64_t job) { worker.run(0, job / cut.stripes, job % cut.stripes); });
  }

  void mlp(const ThinStep& step, const Prepared& made, const Image& image,
           const ThinTeam& team, real_t* scratch) const {
    const ThinSource<real_t> from = image.source(step.sources[0]);
    const ThinSource<real_t> to = image.source(step.out);
    const PixelMlp<real_t>& network = made.mlp[0];
    const int64_t pixels = program_.extent(step.out, p_.extent).count();
    team.share(network.chunks(pixels), [&](int64_t chunk) {
      network.run({from.data, from.channel_stride, image.target(step.out),
                   to.channel_stride, pixels},
                  chunk, scratch);
    });
  }

  void pick(const ThinStep& step, const Image& image, const ThinTeam& team) const {
    const int source = step.sources[0];
    const Extents n = program_.extent(step.out, p_.extent);
    const int64_t row = program_.extent(source, p_.extent).x;
    each_plane(step, image, team, [&](const real_t* from, real_t* to) {
      pick_plane(from, row, int64_t(1) << (level(step.out) - level(source)), n, to);
    });
  }

  void resize(const ThinStep& step, const Image& image, const ThinTeam& team,
              real_t* scratch) const {
    const int steps = level(step.out) - level(step.sources[0]);
    const Extents n = program_.extent(steps > 0 ? step.out : step.sources[0], p_.extent);
    each_plane(step, image, team, [&](const real_t* from, real_t* to) {
      if (steps == 1) halve_plane(from, n, to);
      if (steps == -1) enlarge_plane<2>(from, n, scratch, to);
      if (steps == -2) enlarge_plane<4>(from, n, scratch, to);
    });
  }

  template <class F>
  void each_plane(const ThinStep& step, const Image& image, const ThinTeam& team,
                  F f) const {
    const ThinSource<real_t> from = image.source(step.sources[0]);
    real_t* const out = image.target(step.out);
    const int64_t stride = image.source(step.out).channel_stride;
    team.share(from.channels, [&](int64_t c) {
      f(from.data + c * from.channel_stride, out + c * stride);
    });
  }

  const ThinNetworkParams<real_t>& p_;
  const ThinProgram& program_;
  std::vector<int64_t> places_;
  std::vector<Prepared> prepared_;
  int64_t scratch_ = 0;
};

template <class real_t>
void thin_network(const ThinNetworkParams<real_t>& p) {
  constexpr int64_t kOwnBytes = 64 << 20;  // beyond this, images share no caches anyway
  const ThinNetwork<real_t> network(p);
  const bool small = network.image_reals() * int64_t(sizeof(real_t)) <= kOwnBytes;
  const int64_t own =
      small ? p.batch / p.threads * p.threads : 0;  // images of one thread
  const int64_t copies = own > 0 ? p.threads : 1;
  const int64_t scratch = network.scratch_reals(), image = network.image_reals();
  const Workspace workspace(size_t(copies * image + p.threads * scratch) *
                            sizeof(real_t));
  real_t* const memory = static_cast<real_t*>(workspace.data());
#pragma omp parallel num_threads(p.threads)
  {
    const ThinTeam team{omp_get_thread_num(), omp_get_num_threads()};
    real_t* const mine = memory + copies * image + team.rank * scratch;
#pragma omp for schedule(static)
    for (int64_t b = 0; b < own; ++b) {
      network.run(b, ThinTeam{}, memory + team.rank * image, mine);
    }
    for (int64_t b = own; b < p.batch; ++b) network.run(b, team, memory, mine);
  }
}

OTFUSE_END_ISA_NAMESPACE
