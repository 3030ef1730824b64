# SPDX-License-Identifier: BSD-3-Clause
"""Bessel functions of the first kind in float64: J0 and J1 after Cephes (Moshier 1989), and J2.

`torch.special.bessel_j0` and `bessel_j1` would be the same, were they not wrong by up to 5e-7
between 1 and 20 (torch 2.13); these are good to 1e-15. No gradient: they are only ever taken at
constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class _Table:
    """Rational approximations of one order: up to 5 in x^2, beyond in (5 / x)^2.

    Small x: `(x^2 - r1^2) (x^2 - r2^2) P / Q` (times x for J1), the first two zeros kept exact.
    Large x: `sqrt(2 / (pi x)) (P cos(x - a) - (5 / x) Q sin(x - a))`.
    """

    zeros: tuple[float, float]
    small_p: tuple[float, ...]
    small_q: tuple[float, ...]
    cos_p: tuple[float, ...]
    cos_q: tuple[float, ...]
    sin_p: tuple[float, ...]
    sin_q: tuple[float, ...]


_J0 = _Table(
    (5.78318596294678452118, 30.4712623436620863991),
    (
        -4.79443220978201773821e9, 1.95617491946556577543e12, -2.49248344360967716204e14,
        9.70862251047306323952e15,
    ),
    (
        1.0, 4.99563147152651017219e2, 1.73785401676374683123e5, 4.84409658339962045305e7,
        1.11855537045356834862e10, 2.11277520115489217587e12, 3.10518229857422583814e14,
        3.18121955943204943306e16, 1.71086294081043136091e18,
    ),
    (
        7.96936729297347051624e-4, 8.28352392107440799803e-2, 1.23953371646414299388,
        5.44725003058768775090, 8.74716500199817011941, 5.30324038235394892183,
        9.99999999999999997821e-1,
    ),
    (
        9.24408810558863637013e-4, 8.56288474354474431428e-2, 1.25352743901058953537,
        5.47097740330417105182, 8.76190883237069594232, 5.30605288235394617618,
        1.00000000000000000218,
    ),
    (
        -1.13663838898469149931e-2, -1.28252718670509318512, -1.95539544257735972385e1,
        -9.32060152123768231369e1, -1.77681167980488050595e2, -1.47077505154951170175e2,
        -5.14105326766599330220e1, -6.05014350600728481186,
    ),
    (
        1.0, 6.43178256118178023184e1, 8.56430025976980587198e2, 3.88240183605401609683e3,
        7.24046774195652478189e3, 5.93072701187316984827e3, 2.06209331660327847417e3,
        2.42005740240291393179e2,
    ),
)  # fmt: skip
_J1 = _Table(
    (14.6819706421238932572, 49.2184563216946036703),
    (
        -8.99971225705559398224e8, 4.52228297998194034323e11, -7.27494245221818276015e13,
        3.68295732863852883286e15,
    ),
    (
        1.0, 6.20836478118054335476e2, 2.56987256757748830383e5, 8.35146791431949253037e7,
        2.21511595479792499675e10, 4.74914122079991414898e12, 7.84369607876235854894e14,
        8.95222336184627338078e16, 5.32278620332680085395e18,
    ),
    (
        7.62125616208173112003e-4, 7.31397056940917570436e-2, 1.12719608129684925192,
        5.11207951146807644818, 8.42404590141772420927, 5.21451598682361504063,
        1.00000000000000000254,
    ),
    (
        5.71323128072548699714e-4, 6.88455908754495404082e-2, 1.10514232634061696926,
        5.07386386128601488557, 8.39985554327604159757, 5.20982848682361821619,
        9.99999999999999997461e-1,
    ),
    (
        5.10862594750176621635e-2, 4.98213872951233449420, 7.58238284132545283818e1,
        3.66779609360150777800e2, 7.10856304998926107277e2, 5.97489612400613639965e2,
        2.11688757100572135698e2, 2.52070205858023719784e1,
    ),
    (
        1.0, 7.42373277035675149943e1, 1.05644886038262816351e3, 4.98641058337653607651e3,
        9.56231892404756170795e3, 7.99704160447350683650e3, 2.82619278517639096600e3,
        3.36093607810698293419e2,
    ),
)  # fmt: skip


def bessel_j0(x: Tensor) -> Tensor:
    """Return J0 of numbers that are not negative."""
    wave = _far(x, _J0, math.pi / 4)
    near = x < 5
    wave[near] = _near(x[near] ** 2, _J0)
    return wave


def bessel_j1(x: Tensor) -> Tensor:
    """Return J1 of numbers that are not negative."""
    wave = _far(x, _J1, 3 * math.pi / 4)
    near = x < 5
    wave[near] = _near(x[near] ** 2, _J1).mul_(x[near])
    return wave


def bessel_j2(x: Tensor, j0: Tensor, j1: Tensor) -> Tensor:
    """Return J2 of numbers that are not negative, from J0 and J1 there."""
    return torch.where(x > 0, 2 * j1 / x.clamp(min=1e-300) - j0, torch.zeros_like(x))


def _far(x: Tensor, table: _Table, turn: float) -> Tensor:
    w = x.clamp(min=5).reciprocal_().mul_(5)
    z = w * w
    angle = x - turn
    wave = _ratio(z, table.cos_p, table.cos_q).mul_(angle.cos())
    wave -= _ratio(z, table.sin_p, table.sin_q).mul_(w).mul_(angle.sin_())
    wave *= w.mul_(2 / (5 * math.pi)).sqrt_()
    return wave


def _near(z: Tensor, table: _Table) -> Tensor:
    first, second = table.zeros
    return _ratio(z, table.small_p, table.small_q).mul_(z - first).mul_(z - second)


def _ratio(z: Tensor, above: tuple[float, ...], below: tuple[float, ...]) -> Tensor:
    return _polynomial(z, above).div_(_polynomial(z, below))


def _polynomial(z: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total = torch.full_like(z, coefficients[0])
    for coefficient in coefficients[1:]:
        total.mul_(z).add_(coefficient)
    return total
