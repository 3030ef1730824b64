# SPDX-License-Identifier: BSD-3-Clause
"""The Bessel function J0 in float64, after Cephes (Moshier 1989).

`torch.special.bessel_j0` would be the same, were it not wrong by up to 4e-7 between 1 and 20
(torch 2.13); this one is good to 1e-15. No gradient: it is only ever taken at constants.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Up to 5: (x^2 - r1^2) (x^2 - r2^2) P / Q in x^2, with the first two zeros r1, r2 kept exact.
_ZERO1, _ZERO2 = 5.78318596294678452118, 30.4712623436620863991
_SMALL_P = (
    -4.79443220978201773821e9, 1.95617491946556577543e12, -2.49248344360967716204e14,
    9.70862251047306323952e15,
)  # fmt: skip
_SMALL_Q = (
    1.0, 4.99563147152651017219e2, 1.73785401676374683123e5, 4.84409658339962045305e7,
    1.11855537045356834862e10, 2.11277520115489217587e12, 3.10518229857422583814e14,
    3.18121955943204943306e16, 1.71086294081043136091e18,
)  # fmt: skip
# Beyond: sqrt(2 / (pi x)) (P cos(x - pi/4) - (5 / x) Q sin(x - pi/4)), rational in (5 / x)^2.
_COS_P = (
    7.96936729297347051624e-4, 8.28352392107440799803e-2, 1.23953371646414299388,
    5.44725003058768775090, 8.74716500199817011941, 5.30324038235394892183,
    9.99999999999999997821e-1,
)  # fmt: skip
_COS_Q = (
    9.24408810558863637013e-4, 8.56288474354474431428e-2, 1.25352743901058953537,
    5.47097740330417105182, 8.76190883237069594232, 5.30605288235394617618,
    1.00000000000000000218,
)  # fmt: skip
_SIN_P = (
    -1.13663838898469149931e-2, -1.28252718670509318512, -1.95539544257735972385e1,
    -9.32060152123768231369e1, -1.77681167980488050595e2, -1.47077505154951170175e2,
    -5.14105326766599330220e1, -6.05014350600728481186,
)  # fmt: skip
_SIN_Q = (
    1.0, 6.43178256118178023184e1, 8.56430025976980587198e2, 3.88240183605401609683e3,
    7.24046774195652478189e3, 5.93072701187316984827e3, 2.06209331660327847417e3,
    2.42005740240291393179e2,
)  # fmt: skip


def bessel_j0(x: Tensor) -> Tensor:
    """Return J0 of numbers that are not negative."""
    w = x.clamp(min=5).reciprocal_().mul_(5)
    z = w * w
    turn = x - math.pi / 4
    wave = _ratio(z, _COS_P, _COS_Q).mul_(turn.cos())
    wave -= _ratio(z, _SIN_P, _SIN_Q).mul_(w).mul_(turn.sin_())
    wave *= w.mul_(2 / (5 * math.pi)).sqrt_()
    small = x < 5
    z = x[small] ** 2
    wave[small] = _ratio(z, _SMALL_P, _SMALL_Q) * (z - _ZERO1) * (z - _ZERO2)
    return wave


def _ratio(z: Tensor, above: tuple[float, ...], below: tuple[float, ...]) -> Tensor:
    return _polynomial(z, above).div_(_polynomial(z, below))


def _polynomial(z: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total = torch.full_like(z, coefficients[0])
    for coefficient in coefficients[1:]:
        total.mul_(z).add_(coefficient)
    return total
