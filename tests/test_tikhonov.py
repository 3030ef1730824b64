# SPDX-License-Identifier: BSD-3-Clause
"""tikhonov against the reference, and the reference against its normal equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close
from direct import direct_circular, reflected_widths
from otfuse import reference
from samples import SAMPLES, Sample, by_name, image_of, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

BOUNDARIES = ["circular", "reflect"]
STRENGTH = 0.1
FEW = [s for s in SAMPLES if np.prod(s.image) < 1500]


def columns(of: object, shape: tuple[int, ...]) -> np.ndarray:
    """The matrix of a linear map of images."""
    return np.stack([of(e.reshape(shape)).ravel() for e in np.eye(int(np.prod(shape)))], 1)


def penalty(shape: tuple[int, ...], order: int, edges: tuple[float, ...]) -> np.ndarray:
    """D^T D of the object, its forward differences, or their divergence."""
    size = int(np.prod(shape))
    if order == 0:
        return np.eye(size)
    laplacian = np.zeros((size, size))
    for axis, edge in enumerate(edges):
        slope = columns(lambda e, a=axis: np.roll(e, -1, a) - e, shape) / edge
        laplacian += slope.T @ slope
    return laplacian if order == 1 else laplacian.T @ laplacian


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("shape", "extents", "edges"),
    [((12, 10), (3, 4), (1.5, 1.0)), ((3, 6, 5), (2, 3, 2), (3.0, 1.0, 1.25))],
    ids=["2d", "3d"],
)
def test_reference_solves_the_normal_equations(
    shape: tuple[int, ...],
    extents: tuple[int, ...],
    edges: tuple[float, ...],
    boundary: str,
    order: int,
    rng: np.random.Generator,
) -> None:
    image, psf = rng.normal(size=shape), lopsided_psf(rng, extents).numpy()
    pads = reflected_widths(image, psf) if boundary == "reflect" else [(0, 0)] * len(shape)
    y = np.pad(image, pads, mode="reflect")
    blur = columns(lambda e: direct_circular(e, psf), y.shape)
    normal = blur.T @ blur + STRENGTH * penalty(y.shape, order, edges)
    x = np.linalg.solve(normal, blur.T @ y.ravel()).reshape(y.shape)
    expected = x[tuple(slice(a, a + n) for (a, _), n in zip(pads, shape, strict=True))]
    actual = reference.tikhonov(
        torch.from_numpy(image),
        torch.from_numpy(psf),
        strength=STRENGTH,
        order=order,
        voxel=[0.2 * e for e in edges],  # only their ratios count
        boundary=boundary,
    )
    assert_close(actual, expected, "tikhonov", factor=10 * np.linalg.cond(normal) ** 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", FEW, ids=by_name)
def test_matches_reference(
    sample: Sample, boundary: str, order: int, dtype: torch.dtype, rng: np.random.Generator
) -> None:
    image, psf = image_of(sample, rng, dtype), lopsided_psf(rng, sample.psf, dtype)
    options = {"strength": STRENGTH, "order": order, "boundary": boundary}
    actual = otfuse.tikhonov(image, psf, **options)
    assert actual.dtype == dtype
    expected = reference.tikhonov(image.double(), psf.double(), **options)
    assert_close(actual, expected, "tikhonov", factor=10)


def test_order_0_is_wiener(rng: np.random.Generator) -> None:
    image, psf = image_of(Sample("image", (12, 13), (4, 3)), rng), lopsided_psf(rng, (4, 3))
    assert_close(
        otfuse.tikhonov(image, psf, strength=STRENGTH, order=0),
        otfuse.wiener(image, psf, balance=STRENGTH),
        "order 0",
    )


def test_keeps_the_flux_and_smooths(rng: np.random.Generator) -> None:
    """A constant has no slope; the stronger the penalty, the less slope is left."""
    image, psf = image_of(Sample("image", (16, 17), (4, 3)), rng), lopsided_psf(rng, (4, 3))
    rough = []
    for strength in (1e-3, 1e-1, 10.0):
        out = otfuse.tikhonov(image, psf, strength=strength, boundary="circular")
        assert float(out.sum()) == pytest.approx(float(image.sum()))
        rough.append(float(out.diff(dim=0).norm() + out.diff(dim=1).norm()))
    assert rough[0] > rough[1] > rough[2]


def test_gradcheck(rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.normal(size=(5, 6))).requires_grad_()
    psf = lopsided_psf(rng, (3, 2)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, h: otfuse.tikhonov(x, h, strength=STRENGTH, voxel=(2, 1)), (image, psf)
    )


def test_batches_channels_numpy_and_counts(rng: np.random.Generator) -> None:
    image = rng.integers(0, 1000, (2, 3, 9, 10)).astype(np.uint16)
    psf = np.stack([lopsided_psf(rng, (3, 4)).numpy() for _ in range(3)])
    out = otfuse.tikhonov(image, psf, strength=STRENGTH, ndim=2)
    assert type(out) is np.ndarray
    assert out.dtype == np.float32
    for i, j in np.ndindex(2, 3):
        alone = reference.tikhonov(image[i, j].astype(float), psf[j], strength=STRENGTH)
        assert_close(out[i, j], alone, f"item {i}, {j}", factor=8)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"strength": 0.0}, "strength must be positive"),
        ({"strength": float("nan")}, "strength must be finite"),
        ({"strength": 1.0, "order": 3}, "order must be one of 0, 1, 2, got 3"),
        ({"strength": 1.0, "voxel": (1.0, 0.0)}, "voxel must be positive"),
        ({"strength": 1.0, "voxel": (1.0, 1.0, 1.0)}, "voxel must have one edge per spatial axis"),
        ({"strength": 1.0, "boundary": "extended"}, "boundary must be one of"),
    ],
    ids=str,
)
def test_rejects(options: dict, match: str) -> None:
    with pytest.raises(ValueError, match=f"^tikhonov: {match}"):
        otfuse.tikhonov(torch.ones(8, 9), torch.ones(3, 4), **options)


def test_rejects_a_number_for_the_edges_of_a_voxel() -> None:
    with pytest.raises(TypeError, match=r"^tikhonov: voxel must have 2 positive edges, got 0\.5"):
        otfuse.tikhonov(torch.ones(8, 9), torch.ones(3, 4), strength=1.0, voxel=0.5)


def test_rejects_psfs_that_do_not_fit_the_batch() -> None:
    with pytest.raises(ValueError, match=r"^tikhonov: psf must have leading axes that broadcast"):
        otfuse.tikhonov(torch.ones(2, 8, 9), torch.ones(3, 3, 4), strength=1.0, ndim=2)


def test_rejects_a_psf_without_a_sum() -> None:
    psf = torch.tensor([[1.0, -1.0]])
    with pytest.raises(ValueError, match="tikhonov: psf must not sum to zero"):
        otfuse.tikhonov(torch.ones(8, 9), psf, strength=1.0)
    assert bool(torch.isfinite(otfuse.tikhonov(torch.ones(8, 9), psf, strength=1.0, order=0)).all())
