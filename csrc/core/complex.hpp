// SPDX-License-Identifier: BSD-3-Clause
// Complex numbers with split parts; T is a scalar or a vector of lanes.
#pragma once

#include "core/platform.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

template <class T>
struct Complex {
  T re, im;
};

template <class T>
OTFUSE_HD Complex<T> operator+(const Complex<T>& a, const Complex<T>& b) {
  return {a.re + b.re, a.im + b.im};
}

template <class T>
OTFUSE_HD Complex<T> operator-(const Complex<T>& a, const Complex<T>& b) {
  return {a.re - b.re, a.im - b.im};
}

// a * (re + i im); T and S differ where a scalar twiddle meets a vector of lanes.
template <class T, class S>
OTFUSE_HD Complex<T> multiply(const Complex<T>& a, const S& re, const S& im) {
  return {a.re * re - a.im * im, a.im * re + a.re * im};
}

template <class T, class S>
OTFUSE_HD Complex<T> multiply(const Complex<T>& a, const Complex<S>& b) {
  return multiply(a, b.re, b.im);
}

template <class T, class S>
OTFUSE_HD Complex<T> multiply_conj(const Complex<T>& a, const Complex<S>& b) {
  return {a.re * b.re + a.im * b.im, a.im * b.re - a.re * b.im};
}

// i conj(a): a forward transform between two of these is an inverse one, so only forward
// butterflies exist.
template <class T>
OTFUSE_HD Complex<T> swapped(const Complex<T>& a) {
  return {a.im, a.re};
}

OTFUSE_END_ISA_NAMESPACE
