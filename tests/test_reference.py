# SPDX-License-Identifier: BSD-3-Clause
"""The reference against direct sums in numpy float64 that share no code with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compare import assert_adjoint, assert_close
from direct import direct, direct_circular, reflected_widths, smooth
from otfuse import reference
from samples import BOUNDARIES, PARITIES, SAMPLES, Sample, by_name, counts, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

# Direct sums take one addition for each voxel of the PSF and each of the image.
SMALL = [s for s in SAMPLES if np.prod(s.image) * np.prod(s.psf) < 100_000 and not s.batch]
BACKGROUND = 2.0


@pytest.mark.parametrize("adjoint", [False, True], ids=["forward", "adjoint"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", SMALL, ids=by_name)
def test_fft_convolve_is_the_direct_sum(
    sample: Sample, boundary: str, adjoint: bool, rng: np.random.Generator
) -> None:
    grown = boundary == "extended" and not adjoint
    image = rng.normal(size=sample.extended if grown else sample.image)
    psf = lopsided_psf(rng, sample.psf).numpy()
    actual = reference.fft_convolve(
        torch.from_numpy(image), torch.from_numpy(psf), boundary=boundary, adjoint=adjoint
    )
    assert_close(actual, direct(image, psf, boundary, adjoint), "fft_convolve")


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("extents", PARITIES, ids=by_name)
def test_adjoint(extents: tuple[int, ...], boundary: str, rng: np.random.Generator) -> None:
    shape = (7, 10, 9)[: len(extents)]
    psf = lopsided_psf(rng, extents)
    grown = tuple(n + k - 1 for n, k in zip(shape, extents, strict=True))
    x = torch.from_numpy(rng.normal(size=grown if boundary == "extended" else shape))
    u = torch.from_numpy(rng.normal(size=shape))
    hx = reference.fft_convolve(x, psf, boundary=boundary)
    htu = reference.fft_convolve(u, psf, boundary=boundary, adjoint=True)
    assert_adjoint(hx, u, x, htu, boundary)


@pytest.mark.parametrize(("n", "k"), [(1, 6), (2, 9), (3, 14), (5, 5)])
def test_reflection_of_any_width(n: int, k: int, rng: np.random.Generator) -> None:
    image, psf = rng.normal(size=(n, 4)), rng.random((k, 3))
    actual = reference.fft_convolve(
        torch.from_numpy(image), torch.from_numpy(psf), boundary="reflect"
    )
    assert_close(actual, direct(image, psf, "reflect", False), "reflect")


def direct_start(
    image: np.ndarray, psf: np.ndarray, boundary: str, mask: np.ndarray, init: str | np.ndarray
) -> np.ndarray:
    """The first estimate on the domain of the boundary, before the weight empties voxels."""
    floor = 1e-6 * image[mask].mean()
    level = max(image[mask].mean() - BACKGROUND, floor)
    outside = level if isinstance(init, str) else init.mean()
    start = np.full(image.shape, level) if isinstance(init, str) else init
    if isinstance(init, str) and init == "image":
        start = np.where(mask, np.maximum(image - BACKGROUND, floor), level)
    if boundary == "circular":
        return start
    if boundary == "reflect":
        return np.pad(start, reflected_widths(image, psf), mode="reflect")
    pads = [(k - 1 - k // 2, k // 2) for k in psf.shape]
    if isinstance(init, str) and init == "image":
        return np.pad(start, pads, mode="edge")
    return np.pad(start, pads, constant_values=outside)


def direct_rl(
    image: np.ndarray,
    psf: np.ndarray,
    boundary: str,
    accelerated: bool,
    mask: np.ndarray,
    init: str | np.ndarray,
) -> tuple[np.ndarray, list[float]]:
    """Iterate three times with direct sums; one image, no batch."""
    psf = psf / psf.sum()
    floor, whole = 1e-6 * image[mask].mean(), bool(mask.all())
    x = direct_start(image, psf, boundary, mask, init)
    begin = [0 if boundary == "circular" else k - 1 - k // 2 for k in psf.shape]
    crop = tuple(slice(b, b + n) for b, n in zip(begin, image.shape, strict=True))
    if boundary == "reflect":
        pads = reflected_widths(image, psf)
        image, mask = (np.pad(a, pads, mode="reflect") for a in (image, mask))
    kind = "extended" if boundary == "extended" else "circular"
    seen = direct(mask.astype(float), psf, kind, adjoint=True)
    weight = np.where(seen > 0.01, 1 / np.maximum(seen, 0.01), 0.0)
    if whole and kind == "circular":
        weight = np.ones_like(seen)
    x = last = np.where(weight > 0, x, 0.0)
    divergences = []
    for k in range(1, 4):
        p = x
        if accelerated:
            leap = np.maximum(x + (k - 1) / (k + 2) * (x - last), x / 2)
            p = np.where(weight > 0, np.maximum(leap, floor), 0.0)
        m = np.maximum(direct(p, psf, kind, adjoint=False) + BACKGROUND, floor)
        y, expected = image[mask], m[mask]
        logs = np.where(y > 0, y * np.log(np.where(y > 0, y, 1.0) / expected), 0.0)
        divergences.append(float((logs - y + expected).sum()))
        ratio = np.where(mask, image / m, 0.0)
        last, x = x, p * direct(ratio, psf, kind, adjoint=True) * weight
    return x[crop], divergences


@pytest.mark.parametrize("init", ["mean", "image", "array"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("acceleration", [None, "shb"], ids=["plain", "shb"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("shape", "extents"), [((9, 10), (4, 3)), ((4, 6, 5), (3, 2, 4))], ids=["2d", "3d"]
)
def test_richardson_lucy_is_the_direct_loop(
    shape: tuple[int, ...],
    extents: tuple[int, ...],
    boundary: str,
    acceleration: str | None,
    masked: bool,
    init: str,
    rng: np.random.Generator,
) -> None:
    image, psf = counts(rng, shape), 3 * lopsided_psf(rng, extents)
    mask = rng.random(shape) > 0.2 if masked else np.ones(shape, bool)
    first = rng.random(shape) * 20 if init == "array" else init
    expected, divergences = direct_rl(
        image.numpy(), psf.numpy(), boundary, acceleration == "shb", mask, first
    )
    told = []
    actual = reference.richardson_lucy(
        image,
        psf,
        3,
        background=BACKGROUND,
        boundary=boundary,
        acceleration=acceleration,
        mask=torch.from_numpy(mask) if masked else None,
        init=torch.from_numpy(first) if init == "array" else init,
        callback=lambda i, info: told.append((i, info.i_divergence)),
    )
    assert_close(actual, expected, "estimate", factor=4)
    assert [i for i, _ in told] == [3]
    assert_close(told[0][1], divergences, "I-divergence", factor=4)


def test_richardson_lucy_of_a_batch_is_that_of_its_items(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (2, 3, 8, 9)), torch.stack([lopsided_psf(rng, (3, 4))] * 3)
    psf[1] = psf[1].flip(0)
    image[1] *= 50
    whole = reference.richardson_lucy(image, psf, 4, ndim=2)
    for i, j in np.ndindex(2, 3):
        assert_close(whole[i, j], reference.richardson_lucy(image[i, j], psf[j], 4), f"{i}, {j}")


def test_stop_and_callback_end_the_run(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (8, 8)), lopsided_psf(rng, (3, 3))
    done: list[int] = []
    told: list[torch.Tensor] = []

    def note(i: int, info: object) -> bool:
        done.append(i)
        told.append(info.i_divergence)
        return len(done) == 2

    reference.richardson_lucy(image, psf, 60, callback=note)
    assert done == [5, 10]
    done.clear()
    reference.richardson_lucy(
        image, psf, 5000, stop="idiv", callback=lambda i, info: told.append(info.i_divergence)
    )
    falls = [float(1 - d[i] / d[i - 5]) / 5 for d in told[-1:] for i in range(9, len(d), 5)]
    assert falls[-1] < 1e-4 <= min(falls[:-1])


@pytest.mark.parametrize(
    ("image", "reblurred", "background", "mode", "expected"),
    [
        (6.0, 2.0, 1.0, "clamp", 2.0),
        (6.0, -4.0, 1.0, "clamp", 12.0),
        (6.0, 1.0, 0.5, "add", 3.0),
        (6.0, -1.0, 0.5, "add", 0.0),
    ],
)
def test_rl_ratio(
    image: float, reblurred: float, background: float, mode: str, expected: float
) -> None:
    actual = reference.rl_ratio(
        torch.tensor(image, dtype=torch.float64),
        torch.tensor(reblurred, dtype=torch.float64),
        background,
        floor=0.5,
        mode=mode,
    )
    assert float(actual) == expected


def test_rl_update() -> None:
    a, b, c = (torch.tensor([v], dtype=torch.float64) for v in (2.0, 3.0, 5.0))
    assert float(reference.rl_update(a, b)) == 6.0
    assert float(reference.rl_update(a, b, c)) == 30.0


@pytest.mark.parametrize("boundary", ["circular", "reflect"])
def test_wiener_inverts(boundary: str, rng: np.random.Generator) -> None:
    """On the padded grid it solves (H'H + balance) x = H'y; with no noise and no balance, x."""
    image, psf = rng.normal(size=(12, 10)), lopsided_psf(rng, (3, 4)).numpy()
    before = [k - 1 - k // 2 for k in psf.shape]
    y, balance = image, 0.05
    if boundary == "reflect":
        extents = [smooth(n + k - 1) for n, k in zip(image.shape, psf.shape, strict=True)]
        sizes = zip(before, extents, image.shape, strict=True)
        y = np.pad(image, [(b, e - b - n) for b, e, n in sizes], mode="reflect")
    columns = [direct_circular(e.reshape(y.shape), psf).ravel() for e in np.eye(y.size)]
    blur = np.stack(columns, 1)
    x = np.linalg.solve(blur.T @ blur + balance * np.eye(y.size), blur.T @ y.ravel())
    expected = x.reshape(y.shape)
    if boundary == "reflect":
        expected = expected[
            tuple(slice(b, b + n) for b, n in zip(before, image.shape, strict=True))
        ]
    actual = reference.wiener(
        torch.from_numpy(image), torch.from_numpy(psf), balance=balance, boundary=boundary
    )
    assert_close(actual, expected, "wiener", factor=1 / balance)


CONVS = [
    {},
    {"stride": 2},
    {"padding": 2},
    {"padding": "same"},
    {"padding": "same", "dilation": 2},
    {"padding": "valid", "groups": 2},
    {"stride": 3, "padding": 1, "dilation": 2, "groups": 2, "bias": True},
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("options", CONVS, ids=str)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_fft_conv_is_torchs(ndim: int, options: dict, rng: np.random.Generator) -> None:
    options = dict(options)
    groups = options.get("groups", 1)
    image = torch.from_numpy(rng.normal(size=(2, 4, *(11, 9, 10)[:ndim])))
    weight = torch.from_numpy(rng.normal(size=(6, 4 // groups, *(3, 4, 2)[:ndim])))
    bias = torch.from_numpy(rng.normal(size=6)) if options.pop("bias", False) else None
    actual = getattr(reference, f"fft_conv{ndim}d")(image, weight, bias, **options)
    expected = getattr(torch.nn.functional, f"conv{ndim}d")(image, weight, bias, **options)
    assert_close(actual, expected, "fft_conv", n=image.numel())


def test_everything_differentiates(rng: np.random.Generator) -> None:
    image = counts(rng, (2, 4, 5)).add(1).requires_grad_()
    psf = lopsided_psf(rng, (3, 2)).requires_grad_()
    init = (counts(rng, (2, 4, 5)) + 1).requires_grad_()
    for boundary in BOUNDARIES:

        def convolve(x: torch.Tensor, h: torch.Tensor, boundary: str = boundary) -> torch.Tensor:
            if boundary == "extended":
                x = torch.nn.functional.pad(x, (1, 0, 2, 0))
            return reference.fft_convolve(x, h, boundary=boundary)

        def restore(
            y: torch.Tensor, h: torch.Tensor, x: torch.Tensor, boundary: str = boundary
        ) -> torch.Tensor:
            return reference.richardson_lucy(
                y, h, 3, init=x, boundary=boundary, acceleration="shb", background=0.5
            )

        assert torch.autograd.gradcheck(convolve, (image, psf))
        assert torch.autograd.gradgradcheck(convolve, (image, psf))
        assert torch.autograd.gradcheck(restore, (image, psf, init))


def test_counts_are_computed_in_float32(rng: np.random.Generator) -> None:
    image = counts(rng, (6, 7), torch.uint16)
    out = reference.richardson_lucy(image, lopsided_psf(rng, (3, 3)), 2)
    assert out.dtype == torch.float32
