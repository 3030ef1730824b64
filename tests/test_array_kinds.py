# SPDX-License-Identifier: BSD-3-Clause
"""Arrays as they come: parts of records, negative views, other layouts, another default device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import otfuse

pytestmark = pytest.mark.usefixtures("one_thread")

PSF = torch.tensor([[1.0, 2.0], [0.5, 3.0], [1.0, 0.0]])


def test_a_field_of_records(rng: np.random.Generator) -> None:
    records = np.zeros((8, 9), dtype=[("saturated", "u1"), ("counts", "f4")])
    records["counts"] = rng.poisson(9, (8, 9))
    alone = otfuse.fft_convolve(records["counts"].copy(), PSF.numpy())
    assert np.array_equal(otfuse.fft_convolve(records["counts"], PSF.numpy()), alone)


def test_whole_numbers_of_numpy() -> None:
    image, three = torch.arange(72.0).reshape(8, 9), np.int64(3)
    assert torch.equal(
        otfuse.richardson_lucy(image, PSF, three), otfuse.richardson_lucy(image, PSF, 3)
    )
    shape = np.array([8, 9])
    assert otfuse.Otf(PSF, shape).shape == (8, 9)
    assert otfuse.next_fast_shape(shape) == otfuse.next_fast_shape((8, 9))


def test_an_estimated_background_of_a_negative_view(rng: np.random.Generator) -> None:
    light = torch.from_numpy(rng.poisson(9, (8, 9)).astype(np.float32))
    found = [
        otfuse.richardson_lucy(image, PSF, 3, background="auto")
        for image in (light, torch._neg_view(-light))
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (torch.eye(9).to_sparse(), "image must be dense, got layout torch.sparse_coo; use"),
        (np.eye(9, dtype=np.dtype("g")), "image must hold numbers of a type that torch has, got"),
    ],
    ids=["sparse", "longdouble"],
)
def test_rejects(image: Tensor | np.ndarray, match: str) -> None:
    with pytest.raises(TypeError, match=f"^richardson_lucy: {match}"):
        otfuse.richardson_lucy(image, PSF)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "multiview": lambda x: otfuse.multiview_richardson_lucy([x, x], [PSF, PSF], 2),
    "landweber": lambda x: otfuse.landweber(x, PSF, 2),
    "space_varying": lambda x: otfuse.space_varying_richardson_lucy(x, PSF.expand(2, 1, 3, 2), 2),
    "spectral_mix": lambda x: otfuse.spectral_mix(x[None, None], x[:3, :3, None, None]),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_default_device_does_not_matter(
    function: Callable[[Tensor], Tensor], rng: np.random.Generator
) -> None:
    image = torch.from_numpy(rng.poisson(9, (8, 9)).astype(np.float32))
    with torch.device("meta"):
        found = function(image)
    assert torch.equal(found, function(image))


# As numpy.memmap and tifffile.memmap give them: read-only, big-endian; and mirrored.
KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "mirrored": lambda a: a[::-1].copy()[::-1],
    "read-only": lambda a: np.broadcast_to(a, a.shape),
}
MEASURES: dict[str, Callable[[np.ndarray], object]] = {
    "psnr": lambda a: otfuse.metrics.psnr(a, a + 1, scale=False),
    "fourier_shell_correlation": lambda a: otfuse.metrics.fourier_shell_correlation(a, a)[1],
    "fwhm": lambda a: otfuse.metrics.fwhm(a, [(2, 3, 3)]),
    "center": lambda a: otfuse.psf.center(a)[0],
    "resolution": lambda a: otfuse.psf.resolution(a).fwhm,
    "combine": lambda a: otfuse.psf.combine(a, a),
    "motion": lambda a: otfuse.psf.motion(a[0, :, :3]),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_measures_take_any_array_of_numpy(
    measure: Callable[[np.ndarray], object], kind: Callable[[np.ndarray], np.ndarray]
) -> None:
    bead = otfuse.psf.gaussian((5, 7, 7), 1.2).numpy()
    np.testing.assert_array_equal(np.asarray(measure(kind(bead))), np.asarray(measure(bead)))


def test_measures_refuse_complex_numbers() -> None:
    with pytest.raises(TypeError, match=r"^psnr: result must be real, got torch\.complex64"):
        otfuse.metrics.psnr(np.eye(3), np.eye(3, dtype=np.complex64))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, ">u2"], ids=str)
def test_a_background_of_counts(dtype: str, rng: np.random.Generator) -> None:
    image, dark = rng.poisson(9, (8, 9)).astype(np.float32), np.full((8, 9), 2, dtype)
    alike = [
        otfuse.richardson_lucy(image, PSF.numpy(), 3, background=level, init=init)
        for level, init in ((dark, dark), (2 * np.ones((8, 9)), 2 * np.ones((8, 9))))
    ]
    assert np.array_equal(*alike)
