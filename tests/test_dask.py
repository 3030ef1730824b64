# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy on Dask arrays: the result of the whole image, lazily, in the caller's graph."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import otfuse
import otfuse.dask
from cli_helpers import lopsided_psf
from otfuse.tiling import psf_halo

da = pytest.importorskip("dask.array", reason="needs dask")

PSF = lopsided_psf((5, 7, 7))
pytestmark = pytest.mark.usefixtures("one_thread")


def scene(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Bright lines across the borders of chunks, over a dim background, as photons."""
    light = np.full(shape, 5.0)
    light[..., shape[-2] // 2, :] += 300
    light[..., :, shape[-1] // 2] += 300
    light[..., ::9, ::7] += 200
    return rng.poisson(light).astype(np.uint16)


def close(tiled: np.ndarray, whole: np.ndarray) -> None:
    assert np.abs(tiled - whole).max() <= 1e-3 * whole.max()


@pytest.mark.parametrize(
    "options",
    [
        {"acceleration": "shb", "background": 2.0},
        {"back_projector": "wiener_butterworth", "n_iters": 2},
        {"tv": 0.01, "voxel": (0.3, 0.1, 0.1)},
    ],
    ids=["shb", "unmatched", "tv"],
)
def test_as_the_whole_image(options: dict[str, Any], rng: np.random.Generator) -> None:
    image = scene((20, 80, 90), rng)
    options = {"n_iters": 8, **options}
    lazy = otfuse.dask.richardson_lucy(da.from_array(image, chunks=(20, 40, 45)), PSF, **options)
    assert lazy.shape == image.shape and lazy.dtype == np.float32
    assert lazy.chunks == ((20,), (40, 40), (45, 45))
    whole = otfuse.richardson_lucy(image, PSF, **options)
    close(lazy.compute(), whole)


def test_images_of_a_batch_and_saturated_voxels(rng: np.random.Generator) -> None:
    image = scene((2, 3, 40, 60), rng)
    image[1] //= 4
    image[0, 0, 5, 7] = 4095
    psf = PSF.sum(0)
    lazy = otfuse.dask.richardson_lucy(
        da.from_array(image, chunks=(1, 2, 40, 30)), psf, 5, saturation=4095
    )
    whole = otfuse.richardson_lucy(image, psf, 5, mask=image < 4095)
    close(lazy.compute(), whole)


def test_it_composes(rng: np.random.Generator) -> None:
    image = scene((8, 64, 64), rng)
    lazy = da.from_array(image, chunks=(8, 32, 64))
    result = otfuse.dask.richardson_lucy(lazy - lazy.min(), PSF, 3).max(axis=0)
    expected = otfuse.richardson_lucy(image - image.min(), PSF, 3).max(axis=0)
    close(result.compute(), expected)


def test_the_psf_is_in_the_graph_once(rng: np.random.Generator) -> None:
    image = da.from_array(scene((8, 96, 96), rng), chunks=(8, 32, 32))
    lazy = otfuse.dask.richardson_lucy(image, PSF, 2)
    assert len(lazy.__dask_keys__()[0]) == 3
    graph = dict(lazy.__dask_graph__())
    holders = [key for key, task in graph.items() if PSF.tobytes() in _bytes(task)]
    assert len(holders) == 1


def _bytes(task: Any) -> bytes:
    import pickle

    import cloudpickle

    return bytes(cloudpickle.dumps(task, protocol=pickle.HIGHEST_PROTOCOL))


def test_short_chunks_are_joined(rng: np.random.Generator) -> None:
    image = scene((6, 64, 40), rng)
    (halo,) = {psf_halo(PSF)[1]}
    assert halo is not None and halo > 8
    lazy = otfuse.dask.richardson_lucy(da.from_array(image, chunks=(6, 8, 40)), PSF, 2)
    close(lazy.compute(), otfuse.richardson_lucy(image, PSF, 2))


def test_chunks_of_an_image_within_the_halo_are_one(rng: np.random.Generator) -> None:
    image = scene((6, 20, 40), rng)
    lazy = otfuse.dask.richardson_lucy(da.from_array(image, chunks=(6, 10, 40)), PSF, 2)
    assert lazy.numblocks == (1, 1, 1)
    np.testing.assert_array_equal(lazy.compute(), otfuse.richardson_lucy(image, PSF, 2))


def test_more_iterations_need_more_of_the_neighbours() -> None:
    (few, many) = (psf_halo(PSF, n, acceleration=None)[1] for n in (2, 2000))
    assert few is not None and many is not None and few + 1 < many
    image = da.ones((6, 8 * (few + 1), 8), chunks=(6, few + 1, 8))
    assert otfuse.dask.richardson_lucy(image, PSF, 2).numblocks[1] == 8
    assert otfuse.dask.richardson_lucy(image, PSF, 2000).numblocks[1] < 8


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"image": np.ones((4, 8, 8))}, TypeError, "image must be a dask array, got ndarray"),
        ({"image": da.ones((8, 8))}, ValueError, "at least the 3 axes of the psf"),
        ({"psf": np.zeros((3, 3, 3))}, ValueError, "psf must hold some light"),
        (
            {"psf": np.ones((3, 7, 3)), "image": da.ones((8, 32, 32), chunks=(8, 16, 32))},
            ValueError,
            r"one chunk along axis 1.*rechunk\({1: -1}\)",
        ),
        ({"acceleration": "biggs"}, ValueError, "acceleration must be one of None, 'shb'"),
        ({"n_iters": 0}, ValueError, "n_iters must be at least 1"),
    ],
)
def test_refused(change: dict[str, Any], error: Any, words: str) -> None:
    given = {"image": da.ones((8, 32, 32), chunks=(8, 32, 32)), "psf": PSF, **change}
    with pytest.raises(error, match=words):
        otfuse.dask.richardson_lucy(given.pop("image"), given.pop("psf"), **given)


def test_values_that_are_not_finite_are_told_when_they_are_met() -> None:
    image = da.full((4, 16, 16), np.nan)
    with pytest.raises(ValueError, match="image must be finite"):
        otfuse.dask.richardson_lucy(image, PSF[:3], 1).compute()


def test_without_dask_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['dask'] = None; import otfuse\n"
        "try: otfuse.dask.richardson_lucy(None, None)\n"
        "except RuntimeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'otfuse[cluster]'" in done.stdout
