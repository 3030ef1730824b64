// SPDX-License-Identifier: BSD-3-Clause
// The Richardson-Lucy Network, inference, a launch a stage; mirrors cpu/rln.cpp. Device
// memory: about 380 bytes a voxel moved, 72 held; multiply-adds: 6 400 a voxel. Names of
// stages are those of the publication's code. Li et al., Nat. Methods 19, 1427 (2022).
#pragma once

#include "cuda/network_engine.hpp"
#include "cuda/rln_stages.hpp"

namespace otfuse::cuda {

// Where the stages of some items lie. Two regions of 8 channels at full resolution serve
// all stages in turn, and the two estimates have their own.
class RlnMemory {
 public:
  static constexpr int64_t kBytes = int64_t(2) << 30;  // of items at once, if one fits

  explicit RlnMemory(const RlnParams& p)
      : whole_(p.extent.count()),
        half_((p.extent.z / 2) * (p.extent.y / 2) * (p.extent.x / 2)) {
    const int64_t most = kBytes / (kChannels * whole_ * int64_t(sizeof(float)));
    items_ = std::min(std::max<int64_t>(most, 1), p.batch);
  }

  int64_t items() const { return items_; }
  int64_t bytes() const { return items_ * kChannels * whole_ * int64_t(sizeof(float)); }

  // Channels of the regions, from number `first` of the channels at full resolution on.
  Channels full(float* memory, int64_t first, int64_t channels) const {
    return {memory + first * whole_, channels, kChannels * whole_, whole_};
  }
  // The same at half resolution, where eight channels take the place of one.
  Channels half(float* memory, int64_t first, int64_t channels) const {
    return {memory + first * half_, channels, kChannels * whole_, half_};
  }

  static constexpr int64_t kSecond = 8, kFirst = 16, kEstimation = 17, kChannels = 18;

 private:
  int64_t whole_, half_, items_;
};

template <class Launch>
class RlnRun {
 public:
  RlnRun(const RlnParams& p, const RlnWeights& w, const RlnMemory& m, int64_t first,
         float* memory, const Launch& launch)
      : p_(p),
        w_(w),
        m_(m),
        memory_(memory),
        batch_(std::min(m.items(), p.batch - first)),
        half_{p.extent.z / 2, p.extent.y / 2, p.extent.x / 2},
        image_{const_cast<float*>(p.image) + first * p.views * p.extent.count(), p.views,
               p.views * p.extent.count(), p.extent.count()},
        out_{p.out + first * p.extent.count(), 1, p.extent.count(), p.extent.count()},
        launch_(launch) {}

  void run() const {
    const Channels first = m_.full(memory_, RlnMemory::kFirst, 1);
    const Channels estimation = m_.full(memory_, RlnMemory::kEstimation, 1);
    half_resolution(first);
    full_resolution(first, estimation);
    const Channels h1 = m_.full(memory_, 0, 8);
    const Channels h2 = m_.full(memory_, RlnMemory::kSecond, 8);
    conv<8>(p_.extent, {estimation}, 13, SoftplusOp<8>{h1});
    conv<8>(p_.extent, {h1, estimation, first}, 14, SoftplusOp<8>{h2});
    conv<8>(p_.extent, {h1, h2}, 15, MeanOp{out_});
  }

 private:
  void half_resolution(const Channels& first) const {
    int64_t used = 0;
    const auto take = [&](int64_t channels) {
      used += channels;
      return m_.half(memory_, used - channels, channels);
    };
    const Channels xd = take(p_.views), a1 = take(4), a2 = take(4),
                   ratio = take(p_.views);
    const Channels b4 = take(8), b5 = take(8), b6 = take(8);
    const Channels b7 = m_.full(memory_, RlnMemory::kSecond, 4);
    const PoolPass pool{p_.extent, half_, image_, xd};
    launch_(pool, pool.blocks(batch_), 0);
    conv<4>(half_, {xd}, 1, SoftplusOp<4>{a1});
    conv<4>(half_, {a1}, 2, SoftplusOp<4>{a2});
    conv<4>(half_, {a1, a2}, 3, QuotientOp{xd, ratio, w_.norm_3, p_.denominator});
    conv<8>(half_, {ratio}, 4, SoftplusOp<8>{b4});
    conv<8>(half_, {b4}, 5, SoftplusOp<8>{b5});
    conv<8>(half_, {b5, b4}, 6, SoftplusOp<8>{b6});
    const UpPass up{p_.extent, half_, b6, b7, w_.conv[7]};
    launch_(up, up.blocks(batch_), 0);
    conv<4>(p_.extent, {b7}, 8, ProductOp<4>{image_, first, w_.norm_9, 0.0f});
  }

  void full_resolution(const Channels& first, const Channels& estimation) const {
    const Channels d1 = m_.full(memory_, 0, 4), ratio = m_.full(memory_, 4, p_.views);
    const Channels g1 = m_.full(memory_, RlnMemory::kSecond, 8);
    conv<4>(p_.extent, {image_}, 9, SoftplusOp<4>{d1});
    conv<4>(p_.extent, {d1}, 10, QuotientOp{image_, ratio, w_.norm_12, p_.denominator});
    conv<8>(p_.extent, {ratio}, 11, SoftplusOp<8>{g1});
    conv<8>(p_.extent, {g1}, 12, ProductOp<8>{first, estimation, w_.norm_15, 1.0f});
  }

  template <int kOut, class Op>
  void conv(const Extents& extent, const std::vector<Channels>& inputs, int number,
            const Op& op) const {
    std::vector<ThinSource<float>> sources;
    for (const Channels& c : inputs) sources.push_back(c.source());
    const ConvPlanesPass<kOut, Op> pass(extent, sources, w_.conv[number], op);
    launch_(pass, pass.blocks(batch_), pass.shared_bytes());
  }

  const RlnParams& p_;
  const RlnWeights& w_;
  const RlnMemory& m_;
  float* memory_;
  int64_t batch_;
  Extents half_;
  Channels image_, out_;
  const Launch& launch_;
};

inline int64_t rln_bytes(const RlnParams& p) { return RlnMemory(p).bytes(); }

template <class Launch>
void rln(const RlnParams& p, void* workspace, const Launch& launch) {
  const RlnWeights weights(p.weights, p.views);
  if (weights.floats != p.n_weights) {
    throw std::invalid_argument("rln: weights must hold " +
                                std::to_string(weights.floats) + " floats, got " +
                                std::to_string(p.n_weights));
  }
  const RlnMemory memory(p);
  for (int64_t first = 0; first < p.batch; first += memory.items()) {
    RlnRun<Launch>(p, weights, memory, first, static_cast<float*>(workspace), launch)
        .run();
  }
}

// make(queue) gives what launches there.
template <auto make>
constexpr RlnEngine make_rln_engine() {
  return {&rln_bytes, [](const RlnParams& p, void* memory, const Queue& q) {
            rln(p, memory, make(q));
          }};
}

}  // namespace otfuse::cuda
