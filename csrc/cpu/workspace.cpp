// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/workspace.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace otfuse {
namespace {

constexpr size_t kPage = 4096, kHugePage = size_t(2) << 20;
constexpr size_t kKept = 2;  // one for the running job, one for a second thread's

struct Block {
  void* data;
  size_t bytes;
};

struct Pool {
  std::mutex mutex;
  std::vector<Block> free;
};

// Never destroyed: workspaces may outlive static objects at exit.
Pool& pool() {
  static Pool* const p = new Pool;
  return *p;
}

Block allocate(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : kPage;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, rounded);
  if (data == nullptr) throw std::bad_alloc();
  use_huge_pages(data, rounded);
  return {data, rounded};
}

}  // namespace

void use_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  if (bytes < kHugePage) return;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data), end = begin + bytes;
  const uintptr_t first = (begin + kPage - 1) / kPage * kPage, last = end / kPage * kPage;
  madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

Workspace::Workspace(size_t bytes) {
  {
    std::lock_guard lock(pool().mutex);
    auto& free = pool().free;
    // A block many times as large stays for a larger job. Jobs that take turns, an
    // iteration and the OTF for the next one, share it.
    const auto fit = [&](const Block& b) {
      return b.bytes >= bytes && b.bytes / 8 <= std::max(bytes, kHugePage);
    };
    auto fits =
        std::min_element(free.begin(), free.end(), [&](const Block& a, const Block& b) {
          return fit(a) != fit(b) ? fit(a) : a.bytes < b.bytes;
        });
    if (fits != free.end() && fit(*fits)) {
      data_ = fits->data;
      bytes_ = fits->bytes;
      free.erase(fits);
      return;
    }
  }
  clear_workspaces();
  const Block block = allocate(bytes);
  data_ = block.data;
  bytes_ = block.bytes;
}

Workspace::~Workspace() {
  std::lock_guard lock(pool().mutex);
  auto& free = pool().free;
  free.push_back({data_, bytes_});
  if (free.size() > kKept) {
    std::free(free.front().data);
    free.erase(free.begin());
  }
}

size_t clear_workspaces() {
  std::lock_guard lock(pool().mutex);
  size_t bytes = 0;
  for (const Block& b : pool().free) {
    std::free(b.data);
    bytes += b.bytes;
  }
  pool().free.clear();
  return bytes;
}

}  // namespace otfuse
