// SPDX-License-Identifier: BSD-3-Clause
// What the bindings share: Python's tuples and addresses as the core's types.
#pragma once

#include <pybind11/stl.h>

#include <array>
#include <optional>

#include "core/params.hpp"

namespace otfuse {

using Triple = std::array<int64_t, 3>;

// An array of the caller's and its place on the grid, before its type is known.
struct AnyField {
  uintptr_t data = 0;
  Triple stride{}, offset{}, extent{};
  int64_t batch_stride = 0;
};

inline Extents to_extents(const Triple& t) { return {t[0], t[1], t[2]}; }

template <class real_t>
Field<real_t> to_field(const std::optional<AnyField>& f) {
  if (!f) return {};
  return {reinterpret_cast<real_t*>(f->data),
          to_extents(f->stride),
          f->batch_stride,
          {to_extents(f->offset), to_extents(f->extent)}};
}

template <class T>
T* to_pointer(uintptr_t p) {
  return reinterpret_cast<T*>(p);
}

// f(float()) or f(double())
template <class F>
auto with_real(bool is_double, F f) {
  return is_double ? f(double()) : f(float());
}

}  // namespace otfuse
