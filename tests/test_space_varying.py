# SPDX-License-Identifier: BSD-3-Clause
"""The space-varying blur against direct sums, its adjoint, and its deconvolution."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_adjoint, assert_close, assert_same
from direct import direct_valid, direct_valid_adjoint
from otfuse import reference
from otfuse.functional import space_varying
from samples import counts, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

# Image, nodes, PSF: every parity, one node, as many nodes as voxels, a PSF larger than the image.
GRIDS = [
    ((12, 13), (2, 3), (3, 4)),
    ((9, 10), (1, 4), (4, 5)),
    ((4, 11), (4, 1), (5, 3)),
    ((5, 8), (2, 2), (9, 11)),
    ((6, 7, 8), (2, 1, 3), (4, 3, 2)),
    ((7, 6, 5), (3, 1, 1), (13, 2, 3)),
]
IDS = ["2d", "2d-line", "2d-every-voxel", "2d-large-psf", "3d", "3d-depth"]
LOOPS = [*GRIDS[:5:2], GRIDS[5], ((6, 4, 8), (2, 2, 3), (3, 2, 1)), ((9,), (3,), (4,))]
LOOP_IDS = [*IDS[:5:2], IDS[5], "3d-even", "1d"]
OVERLAPS = [1.0, 0.3]
N_ITERS = 5


def psf_grid(
    rng: np.random.Generator, nodes: tuple[int, ...], extents: tuple[int, ...]
) -> torch.Tensor:
    """A different lopsided PSF at every node."""
    psfs = [lopsided_psf(rng, extents) for _ in range(int(np.prod(nodes)))]
    return torch.stack(psfs).reshape(*nodes, *extents)


def share(position: float, n: int, nodes: int, i: int, overlap: float) -> float:
    """The share of node i in the light of one voxel."""
    centre = (i + 0.5) * n / nodes - 0.5
    pitch = n / nodes
    if (i == 0 and position <= centre) or (i == nodes - 1 and position >= centre):
        return 1.0
    edge = (1 - overlap) / 2 * pitch
    way = min(max((abs(position - centre) - edge) / (overlap * pitch), 0.0), 1.0)
    return 0.5 + 0.5 * np.cos(np.pi * way)


def windows(
    shape: tuple[int, ...], nodes: tuple[int, ...], extents: tuple[int, ...], overlap: float
) -> dict[tuple[int, ...], np.ndarray]:
    """Each node's share of every voxel of the estimate."""
    lines = []
    for n, g, k in zip(shape, nodes, extents, strict=True):
        places = np.arange(n + k - 1) - (k - 1 - k // 2)
        lines.append([np.array([share(p, n, g, i, overlap) for p in places]) for i in range(g)])
    out = {}
    for place in product(*(range(g) for g in nodes)):
        window = np.ones(())
        for i, line in zip(place, lines, strict=True):
            window = window[..., None] * line[i]
        out[place] = window
    return out


def blur(x: np.ndarray, psfs: np.ndarray, overlap: float, shape: tuple[int, ...]) -> np.ndarray:
    """Sum of the shares' blurs."""
    ndim = len(shape)
    each = windows(shape, psfs.shape[:ndim], psfs.shape[ndim:], overlap)
    return sum(direct_valid(w * x, psfs[place]) for place, w in each.items())


def back(u: np.ndarray, psfs: np.ndarray, overlap: float) -> np.ndarray:
    """Its transpose."""
    each = windows(u.shape, psfs.shape[: u.ndim], psfs.shape[u.ndim :], overlap)
    return sum(w * direct_valid_adjoint(u, psfs[place]) for place, w in each.items())


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize(("shape", "nodes", "extents"), GRIDS, ids=IDS)
def test_convolve_is_the_direct_sum(
    shape: tuple, nodes: tuple, extents: tuple, overlap: float, rng: np.random.Generator
) -> None:
    psfs = psf_grid(rng, nodes, extents)
    wide = [n + k - 1 for n, k in zip(shape, extents, strict=True)]
    x, u = (torch.from_numpy(rng.normal(size=s)) for s in (wide, shape))
    for library in (reference, otfuse):
        seen = library.space_varying_convolve(x, psfs, overlap=overlap)
        assert_close(seen, blur(x.numpy(), psfs.numpy(), overlap, shape), "forward", factor=2)
        sent = library.space_varying_convolve(u, psfs, overlap=overlap, adjoint=True)
        assert_close(sent, back(u.numpy(), psfs.numpy(), overlap), "adjoint", factor=2)
    assert_adjoint(seen, u, x, sent, "space_varying_convolve")


def test_equal_psfs_are_one(rng: np.random.Generator) -> None:
    psf = lopsided_psf(rng, (4, 5))
    psfs = psf.expand(3, 2, 4, 5)
    x, u = (torch.from_numpy(rng.normal(size=(2, *s))) for s in ((18, 20), (15, 16)))
    for adjoint, image in ((False, x), (True, u)):
        actual = otfuse.space_varying_convolve(image, psfs, adjoint=adjoint)
        expected = otfuse.fft_convolve(image, psf, boundary="extended", adjoint=adjoint)
        assert_close(actual, expected, f"adjoint {adjoint}")


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("acceleration", [None, "shb"], ids=["plain", "shb"])
@pytest.mark.parametrize(("shape", "nodes", "extents"), LOOPS, ids=LOOP_IDS)
def test_is_the_direct_loop(
    shape: tuple,
    nodes: tuple,
    extents: tuple,
    acceleration: str | None,
    masked: bool,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, psfs = counts(rng, shape).numpy(), psf_grid(rng, nodes, extents).numpy()
    mask = rng.random(shape) > 0.2 if masked else np.ones(shape, bool)
    floor, background = 1e-6 * image[mask].mean(), 2.0
    light = back(mask.astype(float), psfs, 1.0)
    alive = light > 0.01
    x = last = np.where(alive, max(image[mask].mean() - background, floor), 0.0)
    for k in range(1, N_ITERS + 1):
        p = x
        if acceleration:
            leap = np.maximum(x + (k - 1) / (k + 2) * (x - last), x / 2)
            p = np.where(alive, np.maximum(leap, floor), 0.0)
        ratio = mask * image / np.maximum(blur(p, psfs, 1.0, shape) + background, floor)
        last, x = x, np.where(alive, p * back(ratio, psfs, 1.0) / np.maximum(light, 0.01), 0.0)
    begin = [k - 1 - k // 2 for k in extents]
    expected = x[tuple(slice(b, b + n) for b, n in zip(begin, shape, strict=True))]
    options = {
        "background": background,
        "acceleration": acceleration,
        "mask": torch.from_numpy(mask) if masked else None,
    }
    whole, tiles = np.inf, 0.0  # up to which cost the whole grid is taken
    ways = ((reference, False, whole), (otfuse, False, whole), (otfuse, False, tiles))
    for library, graph, most in (*ways, (otfuse, True, whole)):
        monkeypatch.setattr(space_varying, "_TILE_COST", most)
        y, h = torch.from_numpy(image), 3 * torch.from_numpy(psfs)
        actual = library.space_varying_richardson_lucy(
            y.requires_grad_(graph), h, N_ITERS, **options
        )
        error = float(
            (actual.detach() - torch.from_numpy(expected)).norm() / np.linalg.norm(expected)
        )
        assert error < 1e-10, f"{library.__name__}, differentiable {graph}, up to {most}"


@pytest.mark.parametrize("nodes", [(3, 1, 1), (1, 2, 2), (2, 2, 1)], ids=str)
def test_threads_do_not_matter(
    nodes: tuple,
    set_threads: Callable[[int], None],
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(space_varying, "_TILE_COST", np.inf)
    image, psfs = counts(rng, (2, 12, 40, 36)).float(), psf_grid(rng, nodes, (4, 5, 6))
    for y in (image, image[0]):
        runs = []
        for n in (1, 2, 3):
            set_threads(n)
            runs.append(otfuse.space_varying_richardson_lucy(y, psfs, N_ITERS))
        for n, run in enumerate(runs[1:], 2):
            assert_same(run, runs[0], f"{n} threads")


@pytest.mark.parametrize("acceleration", [None, "shb"], ids=["plain", "shb"])
def test_equal_psfs_are_richardson_lucy(acceleration: str | None, rng: np.random.Generator) -> None:
    image, psf = counts(rng, (2, 12, 13)), lopsided_psf(rng, (4, 3))
    options = {"acceleration": acceleration, "background": 1.0, "init": "image"}
    actual = otfuse.space_varying_richardson_lucy(image, psf.expand(2, 3, 4, 3), 6, **options)
    expected = otfuse.richardson_lucy(image, psf, 6, **options)
    assert_close(actual, expected, "estimate", factor=20)


def test_restores_better_than_one_psf(rng: np.random.Generator) -> None:
    """Spots under a blur that widens from left to right; no seam where the tiles meet."""
    sigmas = (0.8, 1.6, 2.4, 3.2)
    psfs = torch.stack([otfuse.psf.gaussian((17, 17), s, dtype=torch.float64) for s in sigmas])
    truth = torch.full((48 + 16, 96 + 16), 20.0, dtype=torch.float64)
    truth[8::8, 8::8] += 20000
    truth = otfuse.fft_convolve(truth, otfuse.psf.gaussian((9, 9), 1.5, dtype=torch.float64))
    blurred = otfuse.space_varying_convolve(truth, psfs[None])
    image = torch.poisson(blurred.clamp(min=0), torch.Generator().manual_seed(1))
    inside = truth[8:-8, 8:-8]

    def error(out: torch.Tensor) -> float:
        return float((out - inside).norm() / inside.norm())

    right = error(otfuse.space_varying_richardson_lucy(image, psfs[None], 60))
    wrong = [error(otfuse.richardson_lucy(image, h, 60)) for h in psfs]
    assert right < 0.8 * min(wrong)
    even = otfuse.space_varying_convolve(torch.full_like(truth, 50.0), psfs[None])
    flat = otfuse.space_varying_richardson_lucy(even, psfs[None], 60, init=even)
    assert float((flat - 50).abs().max()) < 0.02 * 50


def test_float32_batch_numpy_and_counts(rng: np.random.Generator) -> None:
    image = rng.poisson(9, (2, 3, 9, 10)).astype(np.uint16)
    psfs = psf_grid(rng, (2, 2), (3, 4)).numpy()
    out = otfuse.space_varying_richardson_lucy(image, psfs, N_ITERS, overlap=0.5)
    assert type(out) is np.ndarray
    assert out.dtype == np.float32
    for i, j in np.ndindex(2, 3):
        alone = reference.space_varying_richardson_lucy(
            image[i, j].astype(float), psfs, N_ITERS, overlap=0.5
        )
        assert_close(out[i, j], alone, f"item {i}, {j}", factor=4 * N_ITERS)


def test_gradcheck(rng: np.random.Generator) -> None:
    image = (counts(rng, (4, 5)) + 1).requires_grad_()
    psfs = psf_grid(rng, (1, 2), (3, 2)).requires_grad_()
    x = torch.from_numpy(rng.normal(size=(6, 6))).requires_grad_()
    assert torch.autograd.gradcheck(otfuse.space_varying_convolve, (x, psfs))
    assert torch.autograd.gradgradcheck(otfuse.space_varying_convolve, (x, psfs))
    assert torch.autograd.gradcheck(
        lambda y, h: otfuse.space_varying_richardson_lucy(y, h, 3, acceleration="shb"),
        (image, psfs),
    )


def test_masked_values_do_not_matter(rng: np.random.Generator) -> None:
    image, psfs = counts(rng, (12, 13)), psf_grid(rng, (2, 2), (3, 4))
    mask = torch.from_numpy(rng.random((12, 13)) > 0.1)
    expected = otfuse.space_varying_richardson_lucy(image, psfs, 3, mask=mask)
    hidden = torch.where(mask, image, torch.nan)
    assert_same(otfuse.space_varying_richardson_lucy(hidden, psfs, 3, mask=mask), expected, "nan")


DEEP = {"na": 1.2, "wavelength": 0.52, "immersion_index": 1.33, "sample_index": 1.46}


def test_depth_series() -> None:
    """Each node is the model at the middle of its part of the stack."""
    shape, voxel = (9, 11, 13), (0.4, 0.1, 0.1)
    series = otfuse.psf.depth_series(
        otfuse.psf.widefield, shape, voxel, planes=30, nodes=3, top=2.0, **DEEP
    )
    assert series.shape == (3, 1, 1, *shape)
    for psf, middle in zip(series[:, 0, 0], (4.5, 14.5, 24.5), strict=True):
        expected = otfuse.psf.widefield(shape, voxel, depth=2.0 + 0.4 * middle, **DEEP)
        assert_same(psf, expected, f"plane {middle}")


def test_restores_a_deep_stack_better_than_one_psf() -> None:
    """Beads at every depth, spherical aberration growing with it."""
    shape, voxel = (24, 24, 24), (0.4, 0.1, 0.1)
    extents = (31, 25, 25)
    series = otfuse.psf.depth_series(
        otfuse.psf.widefield, extents, voxel, planes=24, nodes=4, **DEEP
    )
    generator = torch.Generator().manual_seed(4)
    wide = tuple(n + k - 1 for n, k in zip(shape, extents, strict=True))
    truth = torch.zeros(wide)
    truth[tuple((torch.rand(150, 3, generator=generator) * torch.tensor(wide)).long().T)] = 1
    spot = otfuse.psf.gaussian((5, 9, 9), (0.8, 1.8, 1.8))
    truth = otfuse.fft_convolve(truth, spot).clamp(min=0)
    light = otfuse.space_varying_convolve(truth, series).clamp(min=0)
    image = torch.poisson(1000 * light / light.max(), generator)
    inside = 1000 * truth[15:-15, 12:-12, 12:-12] / light.max()

    def error(out: torch.Tensor) -> float:
        return float((out - inside).norm() / inside.norm())

    options = {"acceleration": "shb"}
    right = error(otfuse.space_varying_richardson_lucy(image, series, 30, **options))
    wrong = [error(otfuse.richardson_lucy(image, h[0, 0], 30, **options)) for h in series]
    assert right < 0.95 * min(wrong)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"nodes": 0}, "nodes must be"),
        ({"nodes": 31}, "nodes must be"),
        ({"top": -1.0}, "top must not"),
        ({"voxel": (0.4, 0.1)}, "voxel must be"),
    ],
    ids=str,
)
def test_depth_series_rejects(changed: dict, match: str) -> None:
    arguments = {"planes": 30, "nodes": 3, "voxel": (0.4, 0.1, 0.1), **DEEP, **changed}
    with pytest.raises(ValueError, match=f"^depth_series: {match}"):
        otfuse.psf.depth_series(otfuse.psf.widefield, (9, 9, 9), **arguments)


Y, H = torch.ones(8, 9), torch.ones(2, 2, 3, 4)


@pytest.mark.parametrize(
    ("image", "psfs", "options", "error", "match"),
    [
        (-Y, H, {}, ValueError, "image must not be negative"),
        (Y * torch.nan, H, {}, ValueError, "image must be finite"),
        (Y, -H, {}, ValueError, "psfs must not be negative"),
        (Y, H * torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1), {}, ValueError, "psfs must hold"),
        (Y, torch.ones(2, 3, 4), {}, ValueError, "psfs must be a grid of PSFs"),
        (Y, torch.ones(0, 2, 3, 4), {}, ValueError, "psfs must be a grid of PSFs"),
        (Y, torch.ones(9, 1, 3, 4), {}, ValueError, "psfs must not have more nodes"),
        (Y, torch.ones(1, 1, 2, 3, 3, 4), {}, ValueError, "image must have at least 3 axes"),
        (Y, H, {"overlap": 0.0}, ValueError, "overlap must be above 0 and at most 1, got 0"),
        (Y, H, {"overlap": 1.5}, ValueError, "overlap must be above 0 and at most 1"),
        (Y, H, {"n_iters": 0}, ValueError, "n_iters must be at least 1"),
        (Y, H, {"acceleration": "fast"}, ValueError, "acceleration must be one of"),
        (Y, H, {"init": torch.ones(3, 3)}, ValueError, "init must broadcast"),
        (Y, H, {"mask": 0 * Y}, ValueError, "mask must leave some"),
        (Y, H, {"background": torch.ones(3, 3)}, ValueError, "background must be a number"),
        (Y, H.to("meta"), {}, ValueError, "psfs must be on the image's device"),
        (Y + 1j, H, {}, TypeError, "image must be real"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_rejects(
    image: torch.Tensor, psfs: torch.Tensor, options: dict, error: type, match: str
) -> None:
    with pytest.raises(error, match=f"^space_varying_richardson_lucy: {match}"):
        otfuse.space_varying_richardson_lucy(image, psfs, **options)


@pytest.mark.parametrize(
    ("image", "psfs", "error", "match"),
    [
        (torch.ones(2, 9), H, ValueError, "image must be at least as large as the psfs"),
        (Y * torch.inf, H, ValueError, "image must be finite"),
        (Y, H * torch.nan, ValueError, "psfs must be finite"),
        (Y, torch.ones(3, 4, 5), ValueError, "psfs must be a grid"),
        ("stack.tif", H, TypeError, "image must be a numpy"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_convolve_rejects(image: object, psfs: torch.Tensor, error: type, match: str) -> None:
    with pytest.raises(error, match=f"^space_varying_convolve: {match}"):
        otfuse.space_varying_convolve(image, psfs)
