# SPDX-License-Identifier: BSD-3-Clause
"""fit_psf finds optical parameters from an image, and gradients flow through the PSF models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import otfuse
from samples import counts

pytestmark = pytest.mark.usefixtures("one_thread")

GAIN, OFFSET, BACKGROUND = 2.0, 100.0, 110.0
CAMERA = {"gain": GAIN, "offset": OFFSET, "background": BACKGROUND}


def beads(shape: tuple[int, ...], count: int, generator: torch.Generator) -> torch.Tensor:
    """Soft spots at random places."""
    specimen = torch.zeros(shape)
    places = (torch.rand(count, len(shape), generator=generator) * torch.tensor(shape)).long()
    specimen[tuple(places.T)] = 1
    spot = otfuse.psf.gaussian((7,) * len(shape), 1.2)
    return otfuse.fft_convolve(specimen, spot).clamp(min=0)


def photograph(
    shape: tuple[int, ...], psf: torch.Tensor, peak: float, count: int, seed: int = 0
) -> torch.Tensor:
    """Counts of beads that lie also around the image, in Poisson noise."""
    generator = torch.Generator().manual_seed(seed)
    wide = tuple(n + k - 1 for n, k in zip(shape, psf.shape, strict=True))
    light = otfuse.fft_convolve(beads(wide, count, generator), psf, boundary="extended")
    photons = torch.poisson(light.clamp(min=0) / light.max() * peak + 5, generator)
    return photons * GAIN + OFFSET


def at_depth(sample_index: float | torch.Tensor) -> torch.Tensor:
    """A water objective that looks 10 um deep into something denser."""
    return otfuse.psf.widefield(
        (27, 33, 33),
        (0.25, 0.1, 0.1),
        na=1.2,
        wavelength=0.52,
        immersion_index=1.33,
        sample_index=sample_index,
        depth=10.0,
    )


@pytest.mark.parametrize("truth", [1.36, 1.40])
def test_finds_the_sample_index(truth: float) -> None:
    image = photograph((14, 28, 28), at_depth(truth), 1000, 60)
    fit = otfuse.fit_psf(image, at_depth, {"sample_index": (1.34, 1.48)}, **CAMERA)
    assert fit.parameters["sample_index"] == pytest.approx(truth, abs=0.01)
    right, found = at_depth(truth), fit.psf
    assert float((found - right).norm()) < 0.15 * float((at_depth(1.33) - right).norm())
    again = otfuse.richardson_lucy(
        image, found, fit.n_iters, background=BACKGROUND, acceleration="shb"
    )
    assert torch.equal(fit.estimate, again)


def airy(wavelength: float | torch.Tensor, na: float | torch.Tensor = 0.8) -> torch.Tensor:
    """The focal plane of a dry objective."""
    return otfuse.psf.widefield(
        (1, 21, 21), (0.2, 0.12, 0.12), na=na, wavelength=wavelength, immersion_index=1.0
    )[0]


def test_finds_the_wavelength_in_a_plane() -> None:
    image = photograph((48, 48), airy(0.6), 2000, 90).numpy()
    fit = otfuse.fit_psf(image, airy, {"wavelength": (0.4, 0.8)}, **CAMERA)
    assert fit.parameters["wavelength"] == pytest.approx(0.6, abs=0.03)
    assert type(fit.estimate) is np.ndarray
    assert fit.psf.shape == (21, 21)
    assert float(fit.psf.sum()) == pytest.approx(1, rel=1e-5)


def elliptic(tall: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
    """A Gaussian with a width along each axis."""
    place = torch.arange(15, dtype=torch.float64) - 7
    line = [torch.exp(-0.5 * (place / width) ** 2) for width in (tall, wide)]
    return line[0][:, None] * line[1]


def test_finds_two_parameters() -> None:
    truth = elliptic(torch.tensor(2.0), torch.tensor(1.4))
    image = photograph((48, 48), (truth / truth.sum()).float(), 1000, 90)
    ranges = {"tall": (1.0, 3.0), "wide": (1.0, 3.0)}
    fit = otfuse.fit_psf(image, elliptic, ranges, scan=3, **CAMERA)
    assert fit.parameters["tall"] == pytest.approx(2.0, abs=0.15)
    assert fit.parameters["wide"] == pytest.approx(1.4, abs=0.15)
    worse = otfuse.fit_psf(image, elliptic, {k: (2.2, 3.0) for k in ranges}, scan=3, **CAMERA)
    assert fit.surprise < worse.surprise


@pytest.mark.parametrize(
    ("model", "start"),
    [
        (lambda n: otfuse.psf.widefield(**OPTICS, sample_index=n, depth=10.0), 1.38),
        (lambda w: otfuse.psf.widefield(**{**OPTICS, "wavelength": w}), 0.52),
        (
            lambda p: otfuse.psf.confocal(**OPTICS, excitation_wavelength=0.488, pinhole=p),
            0.5,
        ),
    ],
    ids=["sample_index", "wavelength", "pinhole"],
)
def test_gradients_through_iterations_and_optics(
    model: Callable[[torch.Tensor], torch.Tensor], start: float, rng: np.random.Generator
) -> None:
    image = counts(rng, (4, 6, 5)) + 3
    parameter = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda p: otfuse.richardson_lucy(image, model(p), 4, acceleration="shb"), (parameter,)
    )


OPTICS = {
    "shape": (5, 5, 5),
    "voxel": (0.25, 0.1, 0.1),
    "na": 1.2,
    "wavelength": 0.52,
    "immersion_index": 1.33,
    "dtype": torch.float64,
}
IMAGE = torch.full((12, 13), 120.0)
WIDTHS = {"tall": (1.0, 2.0), "wide": (1.0, 2.0)}


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"ranges": {}}, ValueError, "ranges must name at least one parameter"),
        ({"ranges": {"tall": (2.0, 1.0)}}, ValueError, r"ranges\['tall'\] must rise"),
        ({"ranges": {"tall": (1.0, float("nan"))}}, ValueError, r"ranges\['tall'\] must be finite"),
        ({"gain": 0.0}, ValueError, "gain must be positive"),
        ({"gain": "high"}, TypeError, "gain must be a number"),
        ({"offset": 1000.0}, ValueError, "image must hold photons above offset 1000"),
        ({"share": 1.0}, ValueError, "share must be between 0 and 1"),
        ({"n_iters": 0}, ValueError, "n_iters must be at least 1"),
        ({"scan": 0}, ValueError, "scan must be at least 1"),
        ({"image": -IMAGE}, ValueError, "image must not be negative"),
        ({"image": IMAGE * torch.nan}, ValueError, "image must be finite"),
        ({"image": IMAGE[None]}, ValueError, "model must give a PSF with the image's axes"),
        ({"model": lambda **_: "psf"}, TypeError, "model must give a Tensor"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_rejects(changed: dict, error: type, match: str) -> None:
    arguments = {"image": IMAGE, "model": elliptic, "ranges": WIDTHS, **CAMERA, **changed}
    with pytest.raises(error, match=f"^fit_psf: {match}"):
        otfuse.fit_psf(**arguments)


def test_says_that_it_needs_the_camera() -> None:
    with pytest.raises(TypeError, match="gain"):
        otfuse.fit_psf(IMAGE, elliptic, WIDTHS)
