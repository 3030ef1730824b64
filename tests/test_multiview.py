# SPDX-License-Identifier: BSD-3-Clause
"""multiview_richardson_lucy against direct sums, its reference and one view's Richardson-Lucy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close, assert_same
from direct import direct, reflected_widths
from otfuse import reference
from samples import BOUNDARIES, counts, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

UPDATES = ["additive", "multiplicative", "sequential"]
BACKGROUNDS = [2.0, 0.5, 1.0]
N_ITERS = 5
# Extents of the PSFs of three views, which differ in size and parity.
EXTENTS = {2: [(4, 3), (2, 5), (3, 3)], 3: [(3, 2, 4), (2, 3, 3), (1, 4, 2)]}
SHAPES = {2: (9, 10), 3: (4, 6, 5)}


def grown(psfs: list[np.ndarray]) -> list[np.ndarray]:
    """PSFs with zeros around them, their centres k // 2 on one another."""
    extents = [max(psf.shape[axis] for psf in psfs) for axis in range(psfs[0].ndim)]
    out = []
    for psf in psfs:
        big = np.zeros(extents)
        begin = [n // 2 - k // 2 for n, k in zip(extents, psf.shape, strict=True)]
        big[tuple(slice(b, b + k) for b, k in zip(begin, psf.shape, strict=True))] = psf
        out.append(big)
    return out


def oracle(
    images: list[np.ndarray],
    psfs: list[np.ndarray],
    masks: list[np.ndarray],
    boundary: str,
    update: str,
    accelerated: bool,
) -> np.ndarray:
    """Five iterations from the mean by direct sums; no batch."""
    psfs = grown([psf / psf.sum() for psf in psfs])
    shape = images[0].shape
    backgrounds = BACKGROUNDS[: len(images)]
    pairs = list(zip(images, masks, backgrounds, strict=True))
    pixels = sum(mask.sum() for mask in masks)
    floor = 1e-6 * sum(y[mask].sum() for y, mask, _ in pairs) / pixels
    level = max(sum((y - b)[mask].sum() for y, mask, b in pairs) / pixels, floor)
    kind = "extended" if boundary == "extended" else "circular"
    begin = [0 if boundary == "circular" else k - 1 - k // 2 for k in psfs[0].shape]
    if boundary == "reflect":
        pads = reflected_widths(images[0], psfs[0])
        images = [np.pad(y, pads, mode="reflect") for y in images]
        masks = [np.pad(mask, pads, mode="reflect") for mask in masks]
    lights = [
        direct(m.astype(float), h, kind, adjoint=True) for m, h in zip(masks, psfs, strict=True)
    ]
    alive = np.max(lights, 0) > 0.01
    x = last = np.where(alive, level, 0.0)
    for k in range(1, N_ITERS + 1):
        p = x
        if accelerated:
            leap = np.maximum(x + (k - 1) / (k + 2) * (x - last), x / 2)
            p = np.where(alive, np.maximum(leap, floor), 0.0)
        last, product, total = x, np.ones_like(x), np.zeros_like(x)
        for y, mask, h, b, light in zip(images, masks, psfs, backgrounds, lights, strict=True):
            expected = np.maximum(direct(p, h, kind, adjoint=False) + b, floor)
            correction = direct(np.where(mask, y / expected, 0.0), h, kind, adjoint=True)
            factor = np.where(light > 0.01, correction / np.maximum(light, 0.01), 1.0)
            total, product = total + correction, product * np.maximum(factor, 1e-6)
            if update == "sequential":
                p = p * factor
        if update == "additive":
            p = np.where(alive, p * total / np.maximum(np.sum(lights, 0), 1e-9), 0.0)
        elif update == "multiplicative":
            p = p * product ** (1 / np.maximum((np.array(lights) > 0.01).sum(0), 1))
        x = p
    return x[tuple(slice(b, b + n) for b, n in zip(begin, shape, strict=True))]


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("acceleration", [None, "shb"], ids=["plain", "shb"])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("ndim", "views"), [(2, 2), (2, 3), (3, 2), (3, 3)])
def test_is_the_direct_loop(
    ndim: int,
    views: int,
    boundary: str,
    update: str,
    acceleration: str | None,
    masked: bool,
    rng: np.random.Generator,
) -> None:
    images = [counts(rng, SHAPES[ndim]) for _ in range(views)]
    psfs = [3 * lopsided_psf(rng, extents) for extents in EXTENTS[ndim][:views]]
    masks = [np.ones(SHAPES[ndim], bool) for _ in images]
    if masked:
        masks = [rng.random(SHAPES[ndim]) > 0.3 for _ in images]
        masks[1][:] = True
        masks[1][..., :4] = False  # registered from elsewhere: a strip without data
    expected = oracle(
        [y.numpy() for y in images],
        [h.numpy() for h in psfs],
        masks,
        boundary,
        update,
        acceleration is not None,
    )
    options = {
        "update": update,
        "background": BACKGROUNDS[:views],
        "boundary": boundary,
        "acceleration": acceleration,
        "masks": [torch.from_numpy(m) for m in masks] if masked else None,
    }
    for library, graph in ((reference, False), (otfuse, False), (otfuse, True)):
        images[0].requires_grad_(graph)
        actual = library.multiview_richardson_lucy(images, psfs, N_ITERS, **options)
        error = float(
            (actual.detach() - torch.from_numpy(expected)).norm() / np.linalg.norm(expected)
        )
        assert error < 1e-10, f"{library.__name__}, differentiable {graph}"


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("update", UPDATES)
def test_one_view_is_richardson_lucy(update: str, boundary: str, rng: np.random.Generator) -> None:
    image, psf = counts(rng, (2, 9, 10)), lopsided_psf(rng, (4, 3))
    mask = torch.from_numpy(rng.random((9, 10)) > 0.2)
    options = {"boundary": boundary, "acceleration": "shb", "background": 1.5, "init": "image"}
    expected = otfuse.richardson_lucy(image, psf, N_ITERS, mask=mask, **options)
    actual = otfuse.multiview_richardson_lucy(
        [image], [psf], N_ITERS, update=update, masks=[mask], **options
    )
    assert_close(actual, expected, update, factor=4 * N_ITERS)


@pytest.mark.parametrize("update", UPDATES)
def test_float32_batch_and_channels(update: str, rng: np.random.Generator) -> None:
    views = [rng.poisson(9, (2, 3, 9, 10)).astype(np.uint16) for _ in range(2)]
    per_channel = np.stack([lopsided_psf(rng, (3, 4)).numpy() for _ in range(3)])
    psfs = [per_channel, lopsided_psf(rng, (4, 3)).numpy()]
    options = {"update": update, "ndim": 2}
    out = otfuse.multiview_richardson_lucy(views, psfs, N_ITERS, **options)
    assert type(out) is np.ndarray
    assert out.dtype == np.float32
    for i, j in np.ndindex(2, 3):
        alone = reference.multiview_richardson_lucy(
            [y[i, j].astype(float) for y in views], [per_channel[j], psfs[1]], N_ITERS, **options
        )
        assert_close(out[i, j], alone, f"item {i}, {j}", factor=4 * N_ITERS)


@pytest.mark.parametrize("update", UPDATES)
def test_two_views_see_more_than_one(update: str, rng: np.random.Generator) -> None:
    """A view blurred along y and one blurred along x; together they are sharp along both."""
    truth = 2000 * (torch.from_numpy(rng.random((48, 50))) > 0.97).double() + 5
    psfs = [otfuse.psf.gaussian((13, 13), s, dtype=torch.float64) for s in ((3, 0.8), (0.8, 3))]
    generator = torch.Generator().manual_seed(3)
    views = [
        torch.poisson(otfuse.fft_convolve(truth, h, boundary="reflect").clamp(min=0), generator)
        for h in psfs
    ]

    def error(out: torch.Tensor) -> float:
        return float((out - truth).norm() / truth.norm())

    both = error(otfuse.multiview_richardson_lucy(views, psfs, 40, update=update))
    alone = [error(otfuse.richardson_lucy(y, h, 40)) for y, h in zip(views, psfs, strict=True)]
    assert both < 0.85 * min(alone)


def test_additive_likelihood_never_falls(rng: np.random.Generator) -> None:
    views = [counts(rng, (12, 13)) for _ in range(2)]
    psfs = [lopsided_psf(rng, (4, 3)), lopsided_psf(rng, (3, 5))]
    divergences = []
    for n in range(1, 12):
        x = otfuse.multiview_richardson_lucy(views, psfs, n, boundary="circular")
        assert float(x.min()) >= 0
        assert float(x.sum()) == pytest.approx(float(sum(y.sum() for y in views) / 2))
        expected = [otfuse.fft_convolve(x, h) for h in psfs]
        divergences.append(
            sum(float((m - torch.xlogy(y, m)).sum()) for y, m in zip(views, expected, strict=True))
        )
    assert divergences == sorted(divergences, reverse=True)


def test_vmap(rng: np.random.Generator) -> None:
    views, psf = counts(rng, (3, 8, 9)), lopsided_psf(rng, (3, 4))

    def restore(view: torch.Tensor) -> torch.Tensor:
        return otfuse.multiview_richardson_lucy([view, view], [psf, psf], 3)

    assert_close(torch.vmap(restore)(views), restore(views), "estimates", factor=8)


@pytest.mark.parametrize("update", UPDATES)
def test_gradcheck(update: str, rng: np.random.Generator) -> None:
    views = [(counts(rng, (4, 5)) + 1).requires_grad_() for _ in range(2)]
    psfs = [lopsided_psf(rng, e).requires_grad_() for e in ((3, 2), (2, 2))]
    init = (counts(rng, (4, 5)) + 1).requires_grad_()

    def restore(*arrays: torch.Tensor) -> torch.Tensor:
        return otfuse.multiview_richardson_lucy(
            arrays[:2], arrays[2:4], 3, update=update, init=arrays[4], acceleration="shb"
        )

    assert torch.autograd.gradcheck(restore, (*views, *psfs, init))


def test_unseen_voxels_and_hidden_values(rng: np.random.Generator) -> None:
    """What a mask hides does not matter, and what no view sees stays dark."""
    views = [counts(rng, (12, 20)) for _ in range(2)]
    psfs = [lopsided_psf(rng, (3, 3)) for _ in range(2)]
    masks = [torch.ones(12, 20), torch.ones(12, 20)]
    masks[0][:, 12:], masks[1][:, 6:] = 0, 0
    out = otfuse.multiview_richardson_lucy(views, psfs, N_ITERS, masks=masks)
    hidden = [torch.where(m > 0, y, torch.nan) for y, m in zip(views, masks, strict=True)]
    assert_same(otfuse.multiview_richardson_lucy(hidden, psfs, N_ITERS, masks=masks), out, "nan")
    assert float(out[:, 14:].abs().max()) == 0


Y, H = torch.ones(8, 9), torch.ones(3, 4)


@pytest.mark.parametrize(
    ("views", "psfs", "options", "error", "match"),
    [
        ([Y, torch.ones(8, 10)], [H, H], {}, ValueError, "views must have one shape, got .8, 9."),
        ([], [], {}, ValueError, "views must hold at least one view"),
        ([Y, Y], [H], {}, ValueError, r"psfs must be as many as the views \(2\), got 1"),
        ([Y, Y], [H, H], {"masks": [Y]}, ValueError, "masks must be as many"),
        ([Y, Y], [H, H], {"background": [1.0]}, ValueError, "background must be as many"),
        ([Y, -Y], [H, H], {}, ValueError, r"views\[1\] must not be negative"),
        ([Y, Y * torch.nan], [H, H], {}, ValueError, r"views\[1\] must be finite"),
        ([Y, Y], [H, 0 * H], {}, ValueError, r"psfs\[1\] must hold some light"),
        ([Y, Y], [H, -H], {}, ValueError, r"psfs\[1\] must not be negative"),
        ([Y, Y], [H, torch.ones(4)], {}, ValueError, r"psf must have at least 2 axes"),
        ([Y, Y], [H, torch.ones(3, 3, 4)], {}, None, ""),
        ([Y, Y], [H, H], {"masks": [Y, 0 * Y]}, ValueError, r"masks\[1\] must leave some"),
        ([Y, Y], [H, H], {"background": [0.0, torch.nan]}, ValueError, r"background\[1\] must"),
        ([Y, Y], [H, H], {"update": "bayes"}, ValueError, "update must be one of"),
        ([Y, Y], [H, H], {"boundary": "same"}, ValueError, "boundary must be one of"),
        ([Y, Y], [H, H], {"acceleration": "nesterov"}, ValueError, "acceleration must be one of"),
        ([Y, Y], [H, torch.ones(9, 3)], {"boundary": "circular"}, ValueError, "psf must not be l"),
        ([Y, Y], [H, H.to("meta")], {}, ValueError, r"psfs\[1\] must be on the image's device"),
        ([Y, Y + 1j], [H, H], {}, TypeError, r"views\[1\] must be real"),
        ([Y, "view.tif"], [H, H], {}, TypeError, r"views\[1\] must be a numpy"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_rejects(
    views: list, psfs: list, options: dict, error: type[Exception] | None, match: str
) -> None:
    if error is None:  # a leading axis of a psf is a batch axis
        assert otfuse.multiview_richardson_lucy(views, psfs, 1, ndim=2).shape == (3, 8, 9)
        return
    with pytest.raises(error, match=f"^multiview_richardson_lucy: {match}"):
        otfuse.multiview_richardson_lucy(views, psfs, 1, **options)
