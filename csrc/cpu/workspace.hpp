// SPDX-License-Identifier: BSD-3-Clause
// Memory for the engine's intermediates, kept between calls: page faults on fresh memory
// cost more than a pass over it.
#pragma once

#include <cstddef>

namespace otfuse {

// Asks for huge pages under memory that nothing was written to yet: the system makes
// these many times faster, and strided passes miss fewer of them.
void use_huge_pages(void* data, size_t bytes);

// Borrowed while it lives; aligned to a page, on huge pages where the system has them.
class Workspace {
 public:
  explicit Workspace(size_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  void* data() const { return data_; }

 private:
  void* data_;
  size_t bytes_;
};

// Returns kept memory to the system; gives the bytes that were kept.
size_t clear_workspaces();

}  // namespace otfuse
