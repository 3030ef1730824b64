# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse predict`: tiles that do not show, ranges given back, metadata kept."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from cli_helpers import CommandLine, Outcome, save
from otfuse.io import find_provenance, read_stack
from otfuse.nn import MRBCR
from shared_data import shared_folder


class Predict(CommandLine):
    """Runs `otfuse predict` with weights made up; `network` has the same."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        super().__init__(capsys, folder)
        torch.manual_seed(3)
        self.network, self.weights = MRBCR().eval(), folder / "w.safetensors"
        self.network.save(self.weights)

    def run(self, image: Path, *words: object, out: str = "out.tif") -> Outcome:
        return self("predict", image, "-o", self.folder / out, "--weights", self.weights, *words)

    def result(self, image: Path, *words: object) -> np.ndarray:
        done = self.run(image, *words, "--overwrite")
        assert done.code == 0, done.err
        return read_stack(self.folder / "out.tif").data


@pytest.fixture
def predict(capsys: pytest.CaptureFixture[str], tmp_path: Path, one_thread: None) -> Predict:
    return Predict(capsys, tmp_path)


def spots(rng: np.random.Generator, *shape: int) -> np.ndarray:
    image = np.where(rng.random(shape) > 0.97, 900.0, 0.0)
    for axis in (-2, -1):
        image = (image + np.roll(image, 1, axis) + np.roll(image, -1, axis)) / 3
    return (100 + image + rng.normal(0, 5, shape)).astype(np.float32)


def test_whole_planes(predict: Predict, rng: np.random.Generator) -> None:
    """One tile: what the network makes of the image between its extremes, given back."""
    stack = spots(rng, 1, 2, 2, 22, 30)
    image = save(predict.folder / "in.tif", stack)
    result = predict.result(image)
    assert result.shape == stack.shape
    for c, z in np.ndindex(2, 2):
        plane = stack[0, c, z]
        low, high = plane.min(), plane.max()
        expected = predict.network.restore((plane - low) / (high - low)) * (high - low) + low
        np.testing.assert_allclose(result[0, c, z], expected, atol=2e-4 * (high - low))


def test_percentiles(predict: Predict, rng: np.random.Generator) -> None:
    plane = spots(rng, 1, 1, 1, 32, 32)
    image = save(predict.folder / "in.tif", plane)
    result = predict.result(image, "--normalize", "percentile")
    low, high = np.percentile(plane, (0.1, 99.9)).astype(np.float32)
    expected = predict.network.restore((plane[0, 0, 0] - low) / (high - low)) * (high - low) + low
    np.testing.assert_allclose(result[0, 0, 0], expected, atol=2e-4 * (high - low))


def test_as_the_authors_do(predict: Predict, rng: np.random.Generator) -> None:
    """Tiles of 128 side by side, each scaled to 0 to 1 on its own and left there."""
    plane = spots(rng, 1, 1, 1, 128, 256)
    image = save(predict.folder / "in.tif", plane)
    words = ("--normalize", "tile", "--tile", "128", "--overlap", "0")
    result = predict.result(image, *words)[0, 0, 0]
    back = predict.result(image, *words, "--range", "image")[0, 0, 0]
    for x in (0, 128):
        tile = plane[0, 0, 0][:, x : x + 128]
        span = np.ptp(tile)
        expected = predict.network.restore((tile - tile.min()) / span)
        np.testing.assert_allclose(result[:, x : x + 128], expected, atol=1e-5)
        there = expected * span + tile.min()
        np.testing.assert_allclose(back[:, x : x + 128], there, atol=2e-4 * span)


def test_tiles_do_not_show(predict: Predict, rng: np.random.Generator) -> None:
    plane = spots(rng, 1, 1, 1, 160, 160)
    image = save(predict.folder / "in.tif", plane)
    done = predict.run(image, "--tile", "96", "--overlap", "32", "--verbose")
    assert done.code == 0, done.err
    assert "4 tiles of 96 x 96" in done.out
    found = re.search(r"beside them on average, ([0-9.]+) times at most", done.out)
    assert found and float(found.group(1)) < 1.3, done.out
    harsh = predict.run(
        image, "--tile", "96", "--overlap", "0", "--normalize", "tile", "--verbose", out="b.tif"
    )
    shown = re.search(r"beside them on average, ([0-9.]+) times at most", harsh.out)
    assert shown and float(shown.group(1)) > float(found.group(1)), harsh.out


def test_flat_image_stays_flat(predict: Predict) -> None:
    image = save(predict.folder / "in.tif", np.full((1, 1, 1, 16, 16), 7.0))
    np.testing.assert_array_equal(predict.result(image), 7.0)


def test_metadata_and_provenance(predict: Predict, rng: np.random.Generator) -> None:
    stack = spots(rng, 2, 2, 1, 16, 20)
    image = save(predict.folder / "in.ome.tif", stack, channel_names=("A", "B"))
    done = predict.run(image, "--dtype", "uint16", "--tile", "16", "--overlap", "4")
    assert done.code == 0, done.err
    result = read_stack(predict.folder / "out.tif")
    assert result.data.dtype == np.uint16 and result.data.shape == stack.shape
    assert result.channel_names == ("A", "B")
    assert result.voxel[1:] == pytest.approx((0.1, 0.1))
    record = find_provenance(result.description)
    assert record is not None
    assert record["parameters"]["command"] == "predict"
    assert record["parameters"]["options"]["tile"] == 16
    assert len(record["parameters"]["weights_sha256"]) == 64


def test_released_weights(predict: Predict, rng: np.random.Generator) -> None:
    folder = shared_folder("checkpoints/debcr_bright_SR")
    image = save(predict.folder / "in.tif", spots(rng, 1, 1, 1, 40, 40))
    done = predict("predict", image, "-o", predict.folder / "out.tif", "--weights", folder)
    assert done.code == 0, done.err
    assert "236630 weights" in done.out


def test_channels_are_told_apart(predict: Predict, rng: np.random.Generator) -> None:
    stack, names = spots(rng, 1, 2, 1, 16, 16), ("DAPI", "GFP")
    image = save(predict.folder / "in.ome.tif", stack, channel_names=names)
    done = predict.run(image, out="out.ome.tif")
    assert all(f"{name}: highest value" in done.out for name in names), done.out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--tile", "32", "--overlap", "64"), "--tile must exceed --overlap"),
        (("--tile", "128"), "got tile 128 and overlap 216; give both"),
        (("--tile", "64", "--overlap", "-4"), "--overlap"),
        (("--tile", "34", "--overlap", "32"), "tile must exceed overlap by at least 4"),
        (("--tile", "12", "--overlap", "0"), "at least 16 pixels"),
        (("--normalize", "tile"), "--tile must be given with --normalize tile"),
        (("--max-memory", "1MB"), "memory must hold the work on a plane besides the program"),
        (("--tile", "32", "--overlap", "8", "--max-memory", "1MB"), "give a smaller --tile"),
        (("--normalize", "median"), "--normalize must be one of image, percentile, tile"),
        (("--model", "unet"), "--model must be one of"),
        (("--device", "tpu"), "--device must be auto, cpu or cuda"),
        (("--threads", "0"), "--threads must be at least 1"),
    ],
)
def test_bad_options(
    predict: Predict, rng: np.random.Generator, words: tuple[str, ...], text: str
) -> None:
    image = save(predict.folder / "in.tif", spots(rng, 1, 1, 1, 20, 20))
    predict.run(image, *words).failed(2, text)
    assert not (predict.folder / "out.tif").exists()


def test_bad_input(predict: Predict, rng: np.random.Generator) -> None:
    small = save(predict.folder / "small.tif", spots(rng, 1, 1, 1, 15, 40))
    predict.run(small).failed(2, "at least 16 pixels along y and x, got 15 x 40\n")
    bad = spots(rng, 1, 1, 2, 16, 16)
    bad[0, 0, 1, 3, 4] = np.nan
    image = save(predict.folder / "nan.tif", bad)
    predict.run(image).failed(2, "must be finite", "plane 2")
    good = save(predict.folder / "in.tif", spots(rng, 1, 1, 1, 16, 16))
    predict.run(good, out="out.png").failed(2, "--output must end in .tif")
    predict.run(good, "--overwrite", out="in.tif").failed(2, "lie apart from what is read")
    predict.weights.write_bytes(predict.weights.read_bytes()[:1000])
    predict.run(good).failed(2, "complete safetensors file")
    predict.weights.unlink()
    predict.run(good).failed(2, "No such file")
    if not torch.cuda.is_available():
        predict.run(good, "--device", "cuda").failed(2)
    assert not (predict.folder / "out.tif").exists()


def test_planes_into_zarr(predict: Predict, rng: np.random.Generator) -> None:
    """The same as into a TIFF, by slabs of planes; done once."""
    pytest.importorskip("zarr")
    from otfuse.io import create_volume, open_volume

    stack = spots(rng, 1, 2, 3, 40, 44)
    image, source = save(predict.folder / "in.tif", stack), predict.folder / "in.zarr"
    writer = create_volume(source, stack.shape, np.float32, chunks=(1, 1, 2, 40, 44))
    writer.write(..., stack)
    writer.finish()
    tiles = ("--tile", 32, "--overlap", 8)
    expected = predict.result(image, *tiles)
    done = predict.run(source, *tiles, out="out.zarr")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(open_volume(predict.folder / "out.zarr").read(), expected)
    assert "nothing was left to do" in predict.run(source, *tiles, out="out.zarr").out
    predict.run(source, out="new.tif").failed(2, "--output must end in .zarr")
    predict.run(source, "--max-memory", "1kB", out="new.zarr").failed(2, "work on a plane")
