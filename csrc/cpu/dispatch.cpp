// SPDX-License-Identifier: BSD-3-Clause
// Chooses among the instruction sets that were built, once, at the first use.
#include <cstdlib>
#include <stdexcept>

#include "cpu/engine.hpp"
#include "cpu/thin_engine.hpp"

namespace otfuse {

// Not inline here: the same names exist in each instruction set's namespace.
namespace baseline {
extern const Engine<float> engine_f32;
extern const Engine<double> engine_f64;
extern const ThinEngine<float> thin_f32;
extern const ThinEngine<double> thin_f64;
}  // namespace baseline
#if defined(OTFUSE_HAS_AVX512)
namespace avx2 {
extern const Engine<float> engine_f32;
extern const Engine<double> engine_f64;
extern const ThinEngine<float> thin_f32;
extern const ThinEngine<double> thin_f64;
}  // namespace avx2
namespace avx512 {
extern const Engine<float> engine_f32;
extern const Engine<double> engine_f64;
extern const ThinEngine<float> thin_f32;
extern const ThinEngine<double> thin_f64;
}  // namespace avx512
#endif

namespace {

struct Level {
  std::string name;
  const Engine<float>* f32;
  const Engine<double>* f64;
  const ThinEngine<float>* thin_f32;
  const ThinEngine<double>* thin_f64;
};

std::vector<Level> supported_levels() {
  std::vector<Level> levels;
#if defined(OTFUSE_HAS_AVX512)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) {
    levels.push_back({"avx512", &avx512::engine_f32, &avx512::engine_f64,
                      &avx512::thin_f32, &avx512::thin_f64});
  }
  if (__builtin_cpu_supports("x86-64-v3")) {
    levels.push_back(
        {"avx2", &avx2::engine_f32, &avx2::engine_f64, &avx2::thin_f32, &avx2::thin_f64});
  }
#endif
  levels.push_back({"baseline", &baseline::engine_f32, &baseline::engine_f64,
                    &baseline::thin_f32, &baseline::thin_f64});
  return levels;
}

const std::vector<Level>& levels() {
  static const std::vector<Level> all = supported_levels();
  return all;
}

std::string names_of_levels() {
  std::string names;
  for (const Level& level : levels()) names += (names.empty() ? "" : ", ") + level.name;
  return names;
}

const Level& find_level(const std::string& source, const std::string& name) {
  for (const Level& level : levels()) {
    if (level.name == name) return level;
  }
  throw std::invalid_argument(source + " must be one of " + names_of_levels() +
                              " on this processor, got '" + name + "'");
}

const Level* initial_level() {
  const char* wanted = std::getenv("OTFUSE_SIMD");
  return wanted == nullptr || *wanted == '\0' ? &levels().front()
                                              : &find_level("OTFUSE_SIMD", wanted);
}

const Level*& current() {
  static const Level* level = initial_level();
  return level;
}

}  // namespace

template <>
const Engine<float>& engine<float>() {
  return *current()->f32;
}

template <>
const Engine<double>& engine<double>() {
  return *current()->f64;
}

template <>
const ThinEngine<float>& thin_engine<float>() {
  return *current()->thin_f32;
}

template <>
const ThinEngine<double>& thin_engine<double>() {
  return *current()->thin_f64;
}

const std::string& simd_level() { return current()->name; }

std::vector<std::string> simd_levels() {
  std::vector<std::string> names;
  for (const Level& level : levels()) names.push_back(level.name);
  return names;
}

void set_simd(const std::string& level) {
  current() = &find_level("set_simd: level", level);
}

}  // namespace otfuse
