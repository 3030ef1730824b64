// SPDX-License-Identifier: BSD-3-Clause
#include "core/thin_program.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace otfuse {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw std::invalid_argument("thin_network: program must " + what);
}

class Reader {
 public:
  explicit Reader(const std::vector<int64_t>& code) : code_(code) {}

  int64_t next(int64_t low, int64_t high) {
    if (at_ == code_.size())
      refuse("not end early, got " + std::to_string(at_) + " numbers");
    const int64_t value = code_[at_++];
    if (value < low || value >= high) {
      refuse("hold a number from " + std::to_string(low) + " to " +
             std::to_string(high - 1) + " at " + std::to_string(at_ - 1) + ", got " +
             std::to_string(value));
    }
    return value;
  }
  bool finished() const { return at_ == code_.size(); }

 private:
  const std::vector<int64_t>& code_;
  size_t at_ = 0;
};

constexpr int64_t kMost = 1 << 16;

// Regions of memory in use, in order.
class Memory {
 public:
  int64_t take(int64_t size) {
    int64_t begin = 0;
    auto gap = regions_.begin();
    for (; gap != regions_.end() && gap->first < begin + size; ++gap) begin = gap->second;
    regions_.insert(gap, {begin, begin + size});
    most_ = std::max(most_, begin + size);
    return begin;
  }
  void give_back(int64_t begin) {
    std::erase_if(regions_, [&](const auto& region) { return region.first == begin; });
  }
  int64_t most() const { return most_; }

 private:
  std::vector<std::pair<int64_t, int64_t>> regions_;
  int64_t most_ = 0;
};

}  // namespace

ThinProgram::ThinProgram(const std::vector<int64_t>& code) {
  Reader in(code);
  const int64_t n_buffers = in.next(1, kMost);
  for (int64_t i = 0; i < n_buffers; ++i) {
    const int64_t channels = in.next(1, kMost);
    const int level = int(in.next(0, 16)), parent = int(in.next(-1, i));
    buffers.push_back({channels, level, parent, in.next(0, kMost)});
    if (parent < 0) continue;
    const ThinBuffer& whole = buffers[size_t(parent)];
    if (whole.level != level || whole.channels < channels + buffers.back().first) {
      refuse("keep a part inside its buffer");
    }
  }
  const int64_t n_outputs = in.next(1, kMost);
  for (int64_t i = 0; i < n_outputs; ++i) {
    outputs.push_back(int(in.next(1, n_buffers)));
    if (whole(outputs.back()) != outputs.back()) refuse("give out whole buffers");
  }
  const int64_t n_steps = in.next(1, kMost);
  for (int64_t i = 0; i < n_steps; ++i) {
    ThinStep step{};
    step.kind = StepKind(in.next(0, 4));
    step.out = int(in.next(1, n_buffers));
    step.added = int(in.next(-1, n_buffers));
    step.start = int(in.next(-1, n_buffers));
    step.activation = Activation(in.next(0, 3));
    step.activated = in.next(0, kMost);
    step.parameter = int(in.next(0, kMost));
    step.layers = int(in.next(0, kMost));
    const int64_t n_sources = in.next(1, kMost);
    for (int64_t s = 0; s < n_sources; ++s)
      step.sources.push_back(int(in.next(0, n_buffers)));
    steps.push_back(std::move(step));
  }
  if (!in.finished()) refuse("end after its steps");
}

int ThinProgram::whole(int buffer) const {
  const int parent = buffers[size_t(buffer)].parent;
  return parent < 0 ? buffer : whole(parent);
}

Extents ThinProgram::extent(int buffer, const Extents& image) const {
  const int level = buffers[size_t(buffer)].level;
  return {1, image.y >> level, image.x >> level};
}

int64_t ThinProgram::channel_stride(int buffer, const Extents& image) const {
  constexpr int64_t kLine = 16;
  return ((extent(buffer, image).count() + kLine - 1) / kLine | 1) * kLine;
}

std::vector<int64_t> ThinProgram::place(const Extents& image) const {
  std::vector<int64_t> places(buffers.size() + 1, -1);
  std::vector<size_t> last(buffers.size(), 0);
  for (size_t i = 0; i < steps.size(); ++i) {
    for (int s : steps[i].sources) last[size_t(whole(s))] = i;
    for (int s : {steps[i].added, steps[i].start}) {
      if (s >= 0) last[size_t(whole(s))] = i;
    }
  }
  Memory memory;
  for (size_t i = 0; i < steps.size(); ++i) {
    const int out = steps[i].out;
    if (std::find(outputs.begin(), outputs.end(), out) == outputs.end()) {
      places[size_t(out)] =
          memory.take(buffers[size_t(out)].channels * channel_stride(out, image));
    }
    for (size_t b = 1; b < buffers.size(); ++b) {
      if (places[b] >= 0 && last[b] == i) memory.give_back(places[b]);
    }
  }
  places.back() = memory.most();
  return places;
}

}  // namespace otfuse
