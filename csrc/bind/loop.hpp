// SPDX-License-Identifier: BSD-3-Clause
// The arguments of the Richardson-Lucy loop, which are many, as Python names them.
#pragma once

#include <stdexcept>
#include <string>

#include "bind/convert.hpp"

namespace otfuse {

inline Acceleration to_acceleration(const std::string& name) {
  if (name == "none") return Acceleration::kNone;
  if (name == "shb") return Acceleration::kShb;
  if (name == "biggs") return Acceleration::kBiggs;
  throw std::invalid_argument(
      "richardson_lucy: acceleration must be none, shb or biggs, "
      "got '" +
      name + "'");
}

inline Joint to_joint(const std::string& name) {
  if (name == "additive") return Joint::kAdditive;
  if (name == "multiplicative") return Joint::kMultiplicative;
  if (name == "sequential") return Joint::kSequential;
  throw std::invalid_argument(
      "richardson_lucy: joint must be additive, multiplicative or sequential, got '" +
      name + "'");
}

// The loop's arguments before its type is known; the meaning is that of the parameters.
struct AnyRichardsonLucy {
  Triple grid{};
  int64_t batch = 0;
  AnyField image, estimate, out;
  uintptr_t otf = 0, otf_back = 0;
  int64_t kernels = 1, inner = 1;
  std::optional<AnyField> previous, change, out_previous, out_change;
  std::optional<AnyField> judged, background_map, second;
  uintptr_t divergence = 0, floor = 0, agreed = 0;
  double background = 0, judged_offset = 0, fewest = 0;
  int64_t n_iters = 0, first_iteration = 0;
  std::string acceleration = "none";
  double tv = 0;
  std::array<double, 3> voxel{1, 1, 1};
  bool weighted = false;
  int64_t views = 0;
  std::string joint = "additive";
  Triple nodes{1, 1, 1};
  std::array<uintptr_t, 3> shares{};
  int threads = 1;

  template <class real_t>
  RichardsonLucyParams<real_t> params() const {
    return {to_extents(grid),
            batch,
            to_field<const real_t>(image),
            to_pointer<const real_t>(otf),
            to_pointer<const real_t>(otf_back),
            KernelIndex{kernels, inner},
            to_field<const real_t>(estimate),
            to_field<const real_t>(previous),
            to_field<const real_t>(change),
            to_field<real_t>(out),
            to_field<real_t>(out_previous),
            to_field<real_t>(out_change),
            to_pointer<double>(divergence),
            to_field<const real_t>(judged),
            real_t(judged_offset),
            to_field<const real_t>(second),
            to_pointer<double>(agreed),
            fewest,
            to_pointer<const real_t>(floor),
            real_t(background),
            to_field<const real_t>(background_map),
            n_iters,
            first_iteration,
            to_acceleration(acceleration),
            real_t(tv),
            real_t(1 / voxel[0]),
            real_t(1 / voxel[1]),
            real_t(1 / voxel[2]),
            weighted,
            views,
            to_joint(joint),
            to_extents(nodes),
            {to_pointer<const real_t>(shares[0]), to_pointer<const real_t>(shares[1]),
             to_pointer<const real_t>(shares[2])},
            nullptr,
            threads};
  }
};

}  // namespace otfuse
