# SPDX-License-Identifier: BSD-3-Clause
"""Mixing channels in the frequency domain: against the twin, and what the formula promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compare import assert_close
from otfuse import reference, spectral_mix

SHAPES = [(8, 10), (7, 9), (5, 8), (1, 6), (4, 6, 5), (3, 4, 8)]


def drawn(rng: np.random.Generator, *shape: int, dtype=torch.float64) -> torch.Tensor:
    return torch.from_numpy(rng.normal(size=shape)).to(dtype)


def blur(rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """An asymmetric PSF of odd and even extents that fits."""
    psf = torch.from_numpy(rng.uniform(0, 1, [min(n, 3 + i % 2) for i, n in enumerate(shape)]))
    return psf / psf.sum()


def arguments(rng: np.random.Generator, shape: tuple[int, ...], stage: str) -> dict:
    bands, taken, given = 3, 2, 4
    made = {
        "x": drawn(rng, 2, taken, *shape),
        "weight": drawn(rng, bands, 1 + len(shape), given, taken),
        "bias": drawn(rng, given),
    }
    if stage != "free":
        made["psf"] = blur(rng, shape)
    if stage == "inverse":
        made["regularization"] = drawn(rng, bands)
    return made


@pytest.mark.parametrize("stage", ["free", "adjoint", "inverse"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(rng: np.random.Generator, shape: tuple[int, ...], stage: str) -> None:
    """Output and every gradient."""
    made = arguments(rng, shape, stage)
    for value in made.values():
        value.requires_grad_()
    actual, expected = (f(**made, stage=stage) for f in (spectral_mix, reference.spectral_mix))
    assert actual.shape == (2, 4, *shape)
    assert_close(actual, expected, "output", factor=10)
    grad = drawn(rng, *actual.shape)
    have, want = (torch.autograd.grad(y, list(made.values()), grad) for y in (actual, expected))
    for name, a, b in zip(made, have, want, strict=True):
        assert_close(a, b, f"gradient in {name}", factor=100)


def test_single_precision(rng: np.random.Generator) -> None:
    made = {k: v.float() for k, v in arguments(rng, (16, 20), "inverse").items()}
    expected = reference.spectral_mix(**{k: v.double() for k, v in made.items()}, stage="inverse")
    assert_close(spectral_mix(**made, stage="inverse"), expected, "output", factor=10)


@pytest.mark.parametrize("stage", ["free", "adjoint", "inverse"])
@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4)], ids=str)
def test_gradcheck(rng: np.random.Generator, shape: tuple[int, ...], stage: str) -> None:
    made = arguments(rng, shape, stage)
    names = list(made)
    values = [made[name][:, :1] if name == "x" else made[name] for name in names]
    values = [v[..., :2, :1] if n == "weight" else v for n, v in zip(names, values, strict=True)]
    values = [v[:2] if n == "bias" else v for n, v in zip(names, values, strict=True)]

    def run(*arrays: torch.Tensor) -> torch.Tensor:
        return spectral_mix(**dict(zip(names, arrays, strict=True)), stage=stage)

    leaves = tuple(v.clone().requires_grad_() for v in values)
    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_windows_sum_to_one(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    """The same even part in all bands is a plain mixing of channels."""
    x, matrix = drawn(rng, 2, 3, *shape), drawn(rng, 4, 3)
    weight = torch.zeros(5, 1 + len(shape), 4, 3, dtype=torch.float64)
    weight[:, 0] = matrix
    assert_close(spectral_mix(x, weight), torch.einsum("oi,bi...->bo...", matrix, x), "mixed")


def test_shifts_commute_and_directions_are_odd(rng: np.random.Generator) -> None:
    made = arguments(rng, (8, 12), "inverse")
    moved = {**made, "x": made["x"].roll((2, 5), (-2, -1))}
    result = spectral_mix(**made, stage="inverse")
    assert_close(spectral_mix(**moved, stage="inverse"), result.roll((2, 5), (-2, -1)), "shifted")
    # B alone, along x: a bump becomes what is odd along x and even along y.
    weight = torch.zeros(2, 3, 1, 1, dtype=torch.float64)
    weight[:, 1] = 1
    bump = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    bump[..., 4, 4] = 1
    slope = spectral_mix(bump, weight)
    assert_close(slope.flip(-1), -slope, "odd along x")
    assert_close(slope.flip(-2), slope, "even along y")
    assert abs(float(slope.sum())) < 1e-12


def test_adjoint_stage_is_the_adjoint_of_the_blur(rng: np.random.Generator) -> None:
    from otfuse import fft_convolve

    psf, x = blur(rng, (8, 10)), drawn(rng, 1, 1, 8, 10)
    weight = torch.zeros(3, 3, 1, 1, dtype=torch.float64)
    weight[:, 0] = 1
    expected = fft_convolve(x, psf, adjoint=True)
    assert_close(spectral_mix(x, weight, psf=psf, stage="adjoint"), expected, "adjoint", factor=10)


def test_keeps_kind(rng: np.random.Generator) -> None:
    x, weight = rng.normal(size=(1, 2, 6, 6)).astype(np.float32), rng.normal(size=(2, 3, 1, 2))
    result = spectral_mix(x, weight)
    assert isinstance(result, np.ndarray) and result.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weight": np.zeros((2, 3, 1))}, "weight must have axes"),
        ({"weight": np.zeros((2, 2, 1, 1))}, "weight must have axes"),
        ({"x": np.zeros((1, 0, 6, 6)), "weight": np.zeros((2, 3, 0, 0))}, "none empty"),
        ({"x": np.zeros((1, 3, 6, 6))}, r"x must have shape \(batch, 2\)"),
        ({"x": np.zeros((1, 2, 6))}, "and 2 axes"),
        ({"bias": np.zeros(3)}, r"bias must have shape \(1,\)"),
        ({"stage": "inverse", "psf": np.ones((3, 3))}, "regularization must be given"),
        ({"stage": "adjoint"}, "psf must be given"),
        ({"psf": np.ones((3, 3, 3))}, "psf must have 2 axes"),
        ({"psf": np.ones((9, 3)), "stage": "adjoint"}, "psf must not be larger"),
        ({"regularization": np.zeros(3)}, r"regularization must have shape \(2,\)"),
        ({"stage": "forward"}, "stage must be one of"),
    ],
)
def test_rejects(changes: dict, words: str) -> None:
    made = {"x": np.zeros((1, 2, 6, 6)), "weight": np.zeros((2, 3, 1, 2)), **changes}
    with pytest.raises(ValueError, match=words):
        spectral_mix(**made)
