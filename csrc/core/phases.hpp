// SPDX-License-Identifier: BSD-3-Clause
// Kernel bodies in phases. A body is a struct of parameters with
//   static constexpr int kThreads
//   template <class Block> void operator()(Block& block) const
// that calls block.phase(f) again and again: f(t) runs for every thread t of the block,
// with a barrier behind it. Only block.shared(), and what a thread keeps for itself in
// auto own = block.template own<T>() as own(t), carries values from one phase to the
// next. So one body is a device kernel (cuda/launch.cuh) and a loop on the host (below).
// The host runs the threads of a phase in order or in reverse: a body whose result
// depends on that misses a barrier.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "core/platform.hpp"

// Phases on a device are expanded into their kernel: called, they would find the shared
// memory through pointers of any kind.
#if defined(__CUDACC__)
#define OTFUSE_PHASE __attribute__((always_inline))
#else
#define OTFUSE_PHASE
#endif

// Before a loop whose body is long: unrolling it would only be longer to compile.
#if defined(__CUDA_ARCH__)
#define OTFUSE_ROLLED _Pragma("unroll 1")
#elif defined(__CUDACC__)  // its host side knows neither
#define OTFUSE_ROLLED
#else
#define OTFUSE_ROLLED _Pragma("GCC unroll 1")
#endif

namespace otfuse {

// What a launch needs to know about the device, the host playing one.
struct Limits {
  int64_t shared_bytes;  // the most that one block may have
};

inline constexpr std::byte kPoison{0xff};  // not a number: what nobody wrote shows

// A value for each thread of a block.
template <class T>
class HostOwn {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit HostOwn(int threads) : values_(size_t(threads)) {
    std::memset(values_.data(), int(kPoison), values_.size() * sizeof(T));
  }
  T& operator()(int t) { return values_[size_t(t)]; }

 private:
  std::vector<T> values_;
};

class HostBlock {
 public:
  HostBlock(int64_t index, int threads, bool reversed, std::byte* shared)
      : index(index), threads_(threads), reversed_(reversed), shared_(shared) {}

  const int64_t index;

  std::byte* shared() const { return shared_; }

  template <class T>
  HostOwn<T> own() const {
    return HostOwn<T>(threads_);
  }

  template <class F>
  void phase(F f) const {
    for (int i = 0; i < threads_; ++i) f(reversed_ ? threads_ - 1 - i : i);
  }

 private:
  int threads_;
  bool reversed_;
  std::byte* shared_;
};

// Runs the blocks of a launch one after the other.
struct HostLaunch {
  bool reversed;
  Limits limits;

  template <class Body>
  void operator()(const Body& body, int64_t blocks, int64_t shared_bytes) const {
    if (shared_bytes > limits.shared_bytes) {
      throw std::logic_error("HostLaunch: shared_bytes must be at most " +
                             std::to_string(limits.shared_bytes) + ", got " +
                             std::to_string(shared_bytes));
    }
    std::vector<std::byte> shared(static_cast<size_t>(shared_bytes));
    for (int64_t i = 0; i < blocks; ++i) {
      std::fill(shared.begin(), shared.end(), kPoison);
      HostBlock block(reversed ? blocks - 1 - i : i, Body::kThreads, reversed,
                      shared.data());
      body(block);
    }
  }
};

}  // namespace otfuse
