# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse deconvolve` with the iterations that it offers, and what it refuses to combine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import otfuse
from cli_helpers import CommandLine, counts, lopsided_psf, save
from otfuse.io import find_provenance, read_stack
from otfuse.io.camera import dark_levels

SHAPE = (1, 1, 5, 12, 14)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return save(tmp_path / "image.tif", counts(SHAPE))


def result(path: Path) -> np.ndarray:
    return read_stack(path).data[0, 0]


METHODS = {
    "biggs": (["--acceleration", "biggs"], {"acceleration": "biggs", "n_iters": 30}),
    "plain": (["--acceleration", "none", "--iters", "4"], {"n_iters": 4}),
    "tv": (
        ["--tv", "0.002"],
        {"acceleration": "shb", "tv": 0.002, "voxel": (0.3, 0.1, 0.1), "n_iters": 30},
    ),
    "gaussian": (["--back-projector", "gaussian"], {"back_projector": "gaussian", "n_iters": 2}),
    "held-out": (
        ["--gain", "2", "--offset", "90"],
        {
            "acceleration": "shb",
            "stop": "held_out",
            "gain": 2.0,
            "offset": 90.0,
            "n_iters": 100,
        },
    ),
    "offset-and-background": (
        ["--gain", "2", "--offset", "90", "--background", "95", "--iters", "40"],
        {
            "acceleration": "shb",
            "stop": "held_out",
            "gain": 2.0,
            "offset": 90.0,
            "background": 95.0,
            "n_iters": 40,
        },
    ),
    "consensus": (
        ["--gain", "2", "--offset", "90", "--stop", "gradient-consensus", "--iters", "6"],
        {
            "stop": "gradient_consensus",
            "gain": 2.0,
            "offset": 90.0,
            "n_iters": 6,
        },
    ),
    "idiv": (["--stop", "idiv"], {"acceleration": "shb", "stop": "idiv", "n_iters": 100}),
    "none": (
        ["--gain", "2", "--offset", "90", "--stop", "none"],
        {"acceleration": "shb", "offset": 90.0, "n_iters": 30},
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_is_the_function(
    method: str, run: CommandLine, image: Path, psf: Path, tmp_path: Path
) -> None:
    words, options = METHODS[method]
    outcome = run(
        "deconvolve",
        image,
        "-o",
        tmp_path / "out.tif",
        "--psf",
        psf,
        "--psf-center",
        "none",
        *words,
    )
    assert outcome.code == 0, outcome
    data = result(image).astype(np.float32)
    background, offset = dark_levels(data[None])
    options = {"background": background, "offset": offset, **options}
    kernel = lopsided_psf()
    expected = otfuse.richardson_lucy(data, kernel / kernel.sum(), **options)
    atol = 1e-4 * expected.max()  # where nothing is, rounding is all there is
    np.testing.assert_allclose(result(tmp_path / "out.tif"), expected, rtol=2e-3, atol=atol)


def test_says_what_it_does(run: CommandLine, image: Path, psf: Path, tmp_path: Path) -> None:
    words = ["--psf", psf, "--gain", "2", "--offset", "90", "--tv", "0.001"]
    outcome = run("deconvolve", image, "-o", tmp_path / "out.tif", *words)
    assert "at most 100 iterations, shb, total variation 0.001 µm, stop held-out" in outcome.out
    record = find_provenance(read_stack(tmp_path / "out.tif").description)
    assert record["parameters"]["options"]["stop"] == "held-out"
    assert record["parameters"]["channels"][0]["gain"] == 2
    outcome = run.deconvolve(image, "--psf", psf, "--back-projector", "gaussian", "--overwrite")
    assert "3 iterations, gaussian," in outcome.out


def test_divergence_per_voxel_whatever_the_edges(run: CommandLine, image: Path, psf: Path) -> None:
    """Reflected voxels are compared, too, and counted."""
    found = []
    for boundary in ("circular", "reflect"):
        out = run.deconvolve(image, "--psf", psf, "--boundary", boundary, "--overwrite").out
        found.append(float(out.partition("I-divergence ")[2].split()[0]))
    assert found[1] == pytest.approx(found[0], rel=0.5)


def test_a_gain_for_each_channel(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    image = save(tmp_path / "two.tif", counts((1, 2, 5, 12, 14)))
    words = ["--psf", psf, "--gain", "2,3", "--offset", "90,80", "--iters", "8"]
    assert run.deconvolve(image, *words).code == 0
    record = find_provenance(read_stack(tmp_path / "out.tif").description)
    found = [(c["gain"], c["offset"]) for c in record["parameters"]["channels"]]
    assert found == [(2, 90), (3, 80)]


REFUSED = {
    "gain": (["--stop", "held-out"], ["--gain", "--offset"]),
    "offset": (["--stop", "gradient-consensus", "--gain", "2"], ["no --offset"]),
    "gain-zero": (["--gain", "0", "--offset", "1"], ["--gain must be positive"]),
    "gain-text": (["--gain", "x", "--offset", "1"], ["--gain must be a number"]),
    "gains": (["--gain", "1,2", "--offset", "1"], ["--gain must have one value"]),
    "tv": (["--tv", "-1"], ["--tv must be a length"]),
    "tv-nan": (["--tv", "nan"], ["--tv must be a length"]),
    "momentum": (
        ["--back-projector", "wiener", "--acceleration", "shb", "--iters", "2"],
        ["--acceleration must be none"],
    ),
    "stop": (
        ["--back-projector", "wiener", "--stop", "idiv", "--iters", "2"],
        ["--stop must be none"],
    ),
    "iterations": (["--back-projector", "wiener", "--iters", "6"], ["--iters must be at most 5"]),
    "consensus": (
        ["--stop", "gradient-consensus", "--gain", "1", "--offset", "0", "--tv", "0.1"],
        ["plain iterations"],
    ),
    "unknown": (["--stop", "soon"], ["--stop"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str, run: CommandLine, image: Path, psf: Path) -> None:
    words, said = REFUSED[case]
    run.deconvolve(image, "--psf", psf, *words).failed(2, *said)


def test_total_variation_needs_voxels(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    image = save(tmp_path / "bare.tif", counts(SHAPE), voxel=(None, None, None))
    run.deconvolve(image, "--psf", psf, "--tv", "0.01").failed(2, "--tv", "--voxel")


def test_torch_is_left_as_it_was(run: CommandLine, image: Path, psf: Path) -> None:
    """The lots are drawn by a generator of their own."""
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    run.deconvolve(image, "--psf", psf, "--gain", "2", "--offset", "90")
    assert torch.equal(torch.rand(3), expected)
