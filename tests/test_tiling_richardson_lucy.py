# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy by tiles is Richardson-Lucy of the whole, and shows no seams."""

from __future__ import annotations

import pickle
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import otfuse
from cli_helpers import lopsided_psf
from otfuse.functional.rl_tile import RichardsonLucyTile
from otfuse.tiling import (
    TiledLoop,
    blend,
    count_iterations,
    observed_mean,
    plan_loop,
    plan_tiles,
    psf_halo,
    psf_reach,
    richardson_lucy,
    seam_size,
)
from otfuse.tiling.blend import tile_weight

pytestmark = pytest.mark.usefixtures("one_thread")

PSF = lopsided_psf((9, 10, 11))
BACKGROUND = 100.0


def filaments(shape: tuple[int, int, int], photons: float) -> np.ndarray:
    """Counts of lines that cross the whole volume, over a background."""
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    z, y, x = (a.astype(float) for a in axes)
    light = np.zeros(shape)
    for slope, height in ((0.7, 5.0), (-0.4, 50.0), (0.1, 20.0)):
        distance = (y - height - slope * x) ** 2 / 2 + (z - shape[0] / 2 - 0.1 * x) ** 2 / 4
        light += photons * np.exp(-distance)
    blurred = otfuse.fft_convolve(light, PSF.astype(float), boundary="reflect")
    counts = np.random.default_rng(3).poisson(np.maximum(blurred, 0) + BACKGROUND)
    return counts.astype(np.uint16)


def compare(image: np.ndarray, psf: np.ndarray, grid: tuple[int, ...], **options: object) -> None:
    """At most 1e-3 of the maximum, and where it is dim 1 % of the local mean."""
    whole = otfuse.richardson_lucy(image.astype(np.float32), psf, **options)
    tiled = richardson_lucy(image, psf, grid=grid, **options)
    planned = {"acceleration": options.get("acceleration"), "grid": grid}
    unmatched = "back_projector" in options
    plan = plan_loop(
        image.shape, psf, options["n_iters"], back_projector=unmatched, **planned
    ).tiles
    assert len(plan) >= 4
    difference = np.abs(tiled - whole)
    assert difference.max() <= 1e-3 * whole.max()
    window = torch.from_numpy(np.abs(whole))[None, None]
    local = torch.nn.functional.avg_pool3d(window, 9, 1, 4, count_include_pad=False)[0, 0].numpy()
    dim = (local < 0.05 * whole.max()) | (local <= np.quantile(local, 0.3))
    assert (difference <= 0.01 * local + 1e-5 * whole.max())[dim].all()
    steps = seam_size(plan, tiled).ratio, seam_size(plan, whole).ratio
    assert steps[0] == pytest.approx(steps[1], rel=1e-3)


@pytest.mark.parametrize(("n_iters", "acceleration"), [(10, "shb"), (30, "shb"), (30, None)])
def test_filaments_across_tiles(n_iters: int, acceleration: str | None) -> None:
    image = filaments((20, 90, 110), 900.0)
    options = {"n_iters": n_iters, "background": BACKGROUND, "acceleration": acceleration}
    compare(image, PSF, (100, 72, 72), **options)


def test_noise(rng: np.random.Generator) -> None:
    image = rng.poisson(BACKGROUND + 20, (40, 50, 60)).astype(np.uint16)
    compare(image, PSF, (54, 50, 54), n_iters=10, background=BACKGROUND, acceleration="shb")


@pytest.mark.parametrize(
    "options",
    [
        {"back_projector": "wiener_butterworth", "n_iters": 2},
        {"tv": 0.001, "n_iters": 8, "acceleration": "shb", "voxel": (0.3, 0.1, 0.1)},
    ],
)
def test_variants(options: dict[str, object]) -> None:
    image = filaments((12, 90, 110), 900.0)
    compare(image, PSF, (100, 60, 64), background=BACKGROUND, **options)


def test_bars(shared_stack) -> None:
    """Widefield: no cuts along z, and as much overlap as the cone of the farthest planes asks."""
    bars = shared_stack("flowdec_bars-25pct_data.tif").astype(np.float32)
    psf = shared_stack("flowdec_bars-25pct_kernel.tif").astype(np.float32)
    image = np.concatenate([bars, bars[:, :, ::-1], bars, bars[:, :, ::-1], bars], 2)
    reach, halo = psf_reach(psf), psf_halo(psf)
    assert reach[0] is None and halo[0] is None
    assert reach[1:] == (26, 26)
    # A box of fewer planes than image and PSF together would cut along z.
    with pytest.raises(ValueError, match="must hold an axis on which the psf's light does not"):
        plan_loop(image.shape, psf, grid=(40, 128, 400))
    grid = (64, 128, 294)
    plan = plan_loop(image.shape, psf, 10, acceleration="shb", grid=grid).tiles
    assert plan.grid[0] == 1 and len(plan) > 1
    whole = otfuse.richardson_lucy(image, psf, 10, acceleration="shb")
    tiled = richardson_lucy(image, psf, 10, acceleration="shb", grid=grid)
    assert np.abs(tiled - whole).max() <= 1e-3 * whole.max()


def test_saturated_voxels_are_left_out() -> None:
    image = filaments((12, 60, 90), 900.0)
    image = np.minimum(image, 400)
    options = {"n_iters": 5, "background": BACKGROUND, "acceleration": "shb"}
    whole = otfuse.richardson_lucy(image.astype(np.float32), PSF, mask=image < 400, **options)
    tiled = richardson_lucy(image, PSF, grid=(100, 48, 54), saturation=400, **options)
    assert np.abs(tiled - whole).max() <= 1e-3 * whole.max()


@pytest.mark.parametrize("stop", ["idiv", "held_out"])
def test_all_tiles_stop_together(stop: str) -> None:
    image = filaments((12, 90, 150), 40.0)
    grid = (100, 100, 128)
    camera = {"gain": 20.0, "offset": 90.0} if stop == "held_out" else {}
    given = {"background": BACKGROUND, "acceleration": "shb"}
    stopped = richardson_lucy(image, PSF, 100, stop=stop, grid=grid, **camera, **given)
    dark = camera.get("offset", 0.0)  # taken off the image and the background of all tiles
    options = {**given, "background": BACKGROUND - dark}
    image = np.maximum(image.astype(np.float32) - dark, 0)
    camera = {**camera, "offset": 0.0} if camera else {}
    boxes = plan_loop(image.shape, PSF, 100, acceleration="shb", grid=grid)
    plan = boxes.tiles
    mean, brightest = observed_mean(lambda tile: image[tile.slices], plan)
    counts = image[brightest.slices]
    count = count_iterations(counts, PSF, 100, stop=stop, **camera, **options)
    assert 1 <= count < 100
    loop = RichardsonLucyTile(PSF, boxes.grid, n_iters=count, mean=mean, **options)
    restore = TiledLoop(boxes, loop)
    expected = np.concatenate(
        list(blend(plan, (restore(t, image[t.slices].copy()) for t in plan), window="smooth"))
    )
    np.testing.assert_array_equal(stopped, expected)


def test_batches_two_axes_and_out() -> None:
    stack = filaments((2, 60, 90), 900.0)
    psf = lopsided_psf((10, 11))
    out = np.zeros(stack.shape, np.float32)
    assert richardson_lucy(stack, psf, 5, grid=(48, 54), out=out) is out
    for plane, result in zip(stack, out, strict=True):
        whole = otfuse.richardson_lucy(plane.astype(np.float32), psf, 5)
        assert np.abs(result - whole).max() <= 1e-3 * whole.max()


def test_mean_counts_each_voxel_once(rng: np.random.Generator) -> None:
    image = rng.integers(0, 100, (30, 40)).astype(np.int16) - 10
    plan = plan_tiles(image.shape, 16, 6)
    mean, brightest = observed_mean(lambda tile: image[tile.slices], plan, saturation=80)
    kept = image[image < 80]
    assert mean == pytest.approx(np.maximum(kept, 0).mean())
    sums = {tile: image[tile.slices].sum() for tile in plan}
    assert sums[brightest] == max(sums.values())


@settings(max_examples=15)
@given(
    shape=st.tuples(*[st.integers(1, 90)] * 3),
    psf_shape=st.tuples(*[st.integers(1, 6)] * 3),
    grid=st.tuples(*[st.integers(19, 70)] * 3),
)
def test_plans_cover_the_image(
    shape: tuple[int, ...], psf_shape: tuple[int, ...], grid: tuple[int, ...]
) -> None:
    psf = torch.zeros(psf_shape)
    psf[tuple(k // 2 for k in psf_shape)] = 1
    plan = plan_loop(shape, psf, grid=grid)
    tiles = plan.tiles
    for axis, n in enumerate(shape):
        total = np.zeros(n)
        for i, start in enumerate(tiles.starts[axis]):
            weight = tile_weight(tiles, axis, i, "smooth")
            assert min(weight) > -1e-12
            total[start : start + len(weight)] += weight
        np.testing.assert_allclose(total, 1, atol=1e-12)
        assert tiles.starts[axis][0] == 0 and tiles.stops[axis][-1] == n
    for tile in tiles:
        offset, extents = plan.estimate_window(tile)
        for o, e, g, m, k in zip(offset, extents, plan.grid, tile.shape, psf_shape, strict=True):
            assert m <= e <= min(g, m + k - 1) and -(k - 1) <= o <= 0 and o + e >= m


def test_budget_decides_the_grid() -> None:
    small, large = (plan_loop((300, 400, 400), PSF, max_bytes=b) for b in (60 << 20, 1 << 40))
    assert len(large.tiles) == 1 and len(small.tiles) > 8
    assert RichardsonLucyTile.work_bytes(small.grid, small.tiles.tile) <= 60 << 20
    assert otfuse.next_fast_shape(small.grid) == small.grid
    # Of what is computed, at least half is of use.
    assert len(small.tiles) * prod(small.grid) < 2 * 300 * 400 * 400


@pytest.mark.parametrize(
    "options",
    [
        {"acceleration": "shb"},
        {"tv": 0.01, "voxel": (0.3, 0.1, 0.1)},
        {"back_projector": "wiener_butterworth"},
    ],
    ids=["shb", "tv", "wiener_butterworth"],
)
@pytest.mark.parametrize("n_hidden", [0, 1])
def test_a_tile_that_fills_its_box(rng: np.random.Generator, options: dict, n_hidden: int) -> None:
    """It is a periodic image."""
    image = rng.poisson(200, (16, 20, 24)).astype(np.float32)
    mask = np.arange(image.size).reshape(image.shape) >= n_hidden
    settings = {"background": 100, **options}
    whole = otfuse.richardson_lucy(image, PSF, 3, boundary="circular", mask=mask, **settings)
    mean = float(image[mask].mean())
    loop = RichardsonLucyTile(PSF, image.shape, n_iters=3, mean=mean, **settings)
    tile = loop(torch.from_numpy(np.where(mask, image, -1)), (0, 0, 0), image.shape)
    # Total variation magnifies rounding where the image is flat; a mask's weight is 1 to rounding.
    rtol = 1e-4 if "tv" in options else 1e-5
    np.testing.assert_allclose(tile.numpy(), whole, rtol=rtol, atol=1e-3)


def test_channels_keep_one_spectrum(rng: np.random.Generator) -> None:
    """They take turns; a plan counts one."""
    plan = plan_loop((24, 40, 40), PSF, 2)
    made = {"n_iters": 2, "mean": 20.0}
    loops = [RichardsonLucyTile(PSF, plan.grid, **made) for _ in range(2)]
    restorers = [TiledLoop(plan, loop) for loop in loops]
    counts = rng.poisson(20, (24, 40, 40)).astype(np.float32)
    tile = next(iter(plan.tiles))
    results = []
    for turn in (0, 0, 1, 0):
        results.append(restorers[turn](tile, counts.copy()))
        assert [loop._otf is not None for loop in loops] == [turn == 0, turn == 1]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_travels() -> None:
    """A loop that was pickled does the same."""
    image = filaments((12, 60, 40), 900.0)
    plan = plan_loop(image.shape, PSF, grid=(100, 48, 100))
    loop = TiledLoop(plan, RichardsonLucyTile(PSF, plan.grid, n_iters=3, mean=150.0))
    tile = next(iter(plan.tiles))
    before = loop(tile, image[tile.slices])
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(loop))(tile, image[tile.slices]), before
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"grid": (40, 20, 54)}, "grid must be at least"),
        ({"max_bytes": 1000}, "max_bytes must hold the work on a tile, which takes"),
        ({"acceleration": "biggs"}, "acceleration must be one of"),
        ({"stop": "gradient_consensus"}, "stop must be one of"),
        ({"n_iters": 0}, "n_iters must be at least 1"),
        ({"background": float("nan")}, "background must be"),
    ],
)
def test_rejects(arguments: dict[str, object], match: str) -> None:
    image = np.ones((12, 60, 90), np.float32)
    with pytest.raises(ValueError, match=match):
        richardson_lucy(image, PSF, **arguments)


def test_rejects_what_is_not_finite() -> None:
    image = np.ones((12, 60, 90), np.float32)
    image[3, 4, 5] = np.nan
    with pytest.raises(ValueError, match="image must be finite"):
        richardson_lucy(image, PSF, 2)
    with pytest.raises(ValueError, match="image must have at least the 3 axes"):
        richardson_lucy(image[0], PSF, 2)
    with pytest.raises(TypeError, match="image must be an array, got list"):
        richardson_lucy(image.tolist(), PSF, 2)
    with pytest.raises(ValueError, match=r"tiling\.richardson_lucy: n_iters must be at least 1"):
        richardson_lucy(image, PSF, 0)
    with pytest.raises(ValueError, match="out must have the image's shape"):
        richardson_lucy(image, PSF, 2, out=np.empty((2, 2), np.float32))
    with pytest.raises(ValueError, match="energy must be above 0 and below 1"):
        psf_reach(PSF, energy=1)
