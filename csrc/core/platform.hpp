// SPDX-License-Identifier: BSD-3-Clause
// Words that let one header serve the host, several instruction sets of it, and the
// device.
#pragma once

#if defined(__CUDACC__)
#define OTFUSE_HD __host__ __device__ __forceinline__
#else
#define OTFUSE_HD inline __attribute__((always_inline))
#endif

// A loop over registers: compiled by itself, everything it calls expanded into it.
// Lambdas ask for that by name, or an array of lanes would be passed to them through
// memory.
#define OTFUSE_KERNEL __attribute__((noinline))
#define OTFUSE_LAMBDA __attribute__((always_inline))

// Headers compiled once per instruction set put everything in a namespace named after it:
// without that the linker keeps one copy of a template, and AVX-512 code reaches old
// machines.
#if !defined(OTFUSE_ISA)
#define OTFUSE_ISA common
#endif
#define OTFUSE_BEGIN_ISA_NAMESPACE \
  namespace otfuse {               \
  inline namespace OTFUSE_ISA {
#define OTFUSE_END_ISA_NAMESPACE \
  }                              \
  }

// Before a loop over registers.
#if defined(__CUDA_ARCH__)
#define OTFUSE_UNROLLED _Pragma("unroll")
#elif defined(__CUDACC__)  // its host side knows neither
#define OTFUSE_UNROLLED
#else
#define OTFUSE_UNROLLED _Pragma("GCC unroll 32")
#endif
