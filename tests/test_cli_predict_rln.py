# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse predict --model rln`: volumes in tiles that do not show, within the memory allowed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from cli_helpers import CommandLine, Outcome, save
from otfuse.io import find_provenance, open_volume, read_stack
from otfuse.nn import RLN
from otfuse.nn.rln_scale import IntensityScale
from otfuse.nn.rln_stitch import restore_as_published


class Predict(CommandLine):
    """Runs `otfuse predict --model rln` with weights made up; `network` has the same."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        super().__init__(capsys, folder)
        torch.manual_seed(5)
        self.network, self.weights = RLN().eval(), folder / "w.safetensors"
        with torch.no_grad():  # so that results are about as bright as images
            self.network.get_parameter("norm.16.weight").fill_(1e-3)
        self.network.save(self.weights)

    def run(self, image: Path, *words: object) -> Outcome:
        out = self.folder / "out.tif"
        fixed = ("predict", image, "-o", out, "--model", "rln", "--weights", self.weights)
        return self(*fixed, "--overwrite", *words)

    def result(self, image: Path, *words: object) -> np.ndarray:
        done = self.run(image, *words)
        assert done.code == 0, done.err
        return read_stack(self.folder / "out.tif").data

    def expected(self, volume: np.ndarray) -> np.ndarray:
        """The whole volume at once."""
        scale = IntensityScale.of(volume)
        scaled = scale.apply(volume.astype(np.float32)).astype(np.float32)
        return self.network.restore(scaled) * scale.span + scale.offset


@pytest.fixture
def predict(capsys: pytest.CaptureFixture[str], tmp_path: Path, one_thread: None) -> Predict:
    return Predict(capsys, tmp_path)


def beads(rng: np.random.Generator, *shape: int) -> np.ndarray:
    volume = 3000.0 * (rng.random(shape) > 0.98)
    for axis in (-3, -2, -1):
        volume = (volume + np.roll(volume, 1, axis) + np.roll(volume, -1, axis)) / 3
    return (100 + volume + rng.normal(0, 5, shape)).astype(np.uint16)


def test_volumes(predict: Predict, rng: np.random.Generator) -> None:
    stack = beads(rng, 2, 2, 6, 20, 33)
    result = predict.result(save(predict.folder / "in.tif", stack))
    assert result.shape == stack.shape
    assert result.dtype == np.float32
    for t, c in np.ndindex(2, 2):
        expected = predict.expected(stack[t, c])
        np.testing.assert_allclose(result[t, c], expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif"])
def test_channels_and_kinds_of_file(predict: Predict, rng: np.random.Generator, name: str) -> None:
    stack = beads(rng, 2, 3, 4, 50, 16)
    image = save(predict.folder / "in.tif", stack)
    words = ("--model", "rln", "--weights", predict.weights, "--tile", 48)
    done = predict("predict", image, "-o", predict.folder / name, *words)
    assert done.code == 0, done.err
    written = read_stack(predict.folder / name)
    assert written.kind == ("ome" if "ome" in name else "imagej")
    for t, c in np.ndindex(2, 3):
        expected = predict.expected(stack[t, c])
        np.testing.assert_allclose(written.data[t, c], expected, atol=1e-4 * expected.max())
    # Integers go through floats on the disk, which are gone afterwards.
    whole = predict.result(image, "--dtype", "uint16")
    assert whole.dtype == np.uint16
    assert whole.max() == 65535
    for c in range(3):
        pair = whole[:, c].ravel(), written.data[:, c].ravel()
        assert np.corrcoef(*pair)[0, 1] > 0.99999
    assert {p.name for p in predict.folder.iterdir()} == {
        "in.tif",
        "out.tif",
        name,
        "w.safetensors",
    }


def test_network_range(predict: Predict, rng: np.random.Generator) -> None:
    stack = beads(rng, 1, 1, 4, 16, 16)
    image = save(predict.folder / "in.tif", stack)
    scale = IntensityScale.of(stack)
    inner = predict.result(image, "--range", "network")
    outer = predict.result(image)
    np.testing.assert_allclose(inner * scale.span + scale.offset, outer, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("tile", [48, 60])
def test_tiles_do_not_show(predict: Predict, rng: np.random.Generator, tile: int) -> None:
    stack = beads(rng, 1, 1, 8, 110, 71)
    image = save(predict.folder / "in.tif", stack)
    done = predict.run(image, "--tile", str(tile), "--verbose")
    assert done.code == 0, done.err
    assert "seams" in done.out
    result = read_stack(predict.folder / "out.tif").data[0, 0]
    expected = predict.expected(stack[0, 0])
    assert np.abs(result - expected).max() <= 1e-4 * expected.max()


def test_as_the_authors_do(predict: Predict, rng: np.random.Generator) -> None:
    stack = beads(rng, 1, 1, 5, 30, 40)
    result = predict.result(save(predict.folder / "in.tif", stack), "--stitch", "published")
    expected = restore_as_published(stack[0, 0], predict.network.restore)
    np.testing.assert_array_equal(result[0, 0], expected)


def test_provenance(predict: Predict, rng: np.random.Generator) -> None:
    image = save(predict.folder / "in.tif", beads(rng, 1, 1, 3, 16, 16))
    predict.result(image)
    record = find_provenance(read_stack(predict.folder / "out.tif").description)
    assert record is not None
    assert record["parameters"]["options"]["model"] == "rln"


@pytest.mark.parametrize("merge", ["concatenated", "averaged"])
def test_rows_change_nothing(predict: Predict, rng: np.random.Generator, merge: str) -> None:
    """Several strips, the last rows of one kept for the next, and both kinds of two views."""
    torch.set_num_threads(2)
    torch.manual_seed(7)
    network, weights = RLN(views=2, merge=merge).eval(), predict.folder / "two.safetensors"
    network.save(weights)
    predict.weights = weights
    views = [beads(rng, 1, 1, 3, 150, 400) for _ in range(2)]
    paths = [save(predict.folder / f"{i}.tif", view) for i, view in enumerate(views)]
    done = predict.run(paths[0], "--second-view", paths[1], "--range", "network")
    assert done.code == 0, done.err
    assert re.search(r"[2-9] strips of up to \d+ rows, nothing computed twice", done.out)
    read = [read_stack(path).data[0, 0] for path in paths]
    scaled = [IntensityScale.of_file(view).to_network(view) for view in read]
    found = read_stack(predict.folder / "out.tif").data[0, 0]
    np.testing.assert_array_equal(found, network.restore(*scaled))


def test_tiles_where_rows_do_not_fit(
    predict: Predict, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = save(predict.folder / "in.tif", beads(rng, 1, 1, 6, 50, 40))
    assert "1 strip of up to" in predict.run(image, "--max-memory", "2GB").out
    monkeypatch.setattr("otfuse.tiling.rln_plan.rln_rows_bytes", lambda *given: 2 << 30)
    assert "1 tile of 6 x 50 x 40" in predict.run(image, "--max-memory", "2GB").out


def test_rows_take_what_is_planned(rng: np.random.Generator) -> None:
    from otfuse.tiling.rln_plan import rln_rows_bytes

    # Twice the rows, at most other strips; twice the planes, twice what is kept of them.
    assert rln_rows_bytes((40, 2000, 300)) < 1.1 * rln_rows_bytes((40, 1000, 300))
    assert rln_rows_bytes((80, 1000, 300)) < 2 * rln_rows_bytes((40, 1000, 300))


def test_memory_decides_the_tiles(predict: Predict, rng: np.random.Generator) -> None:
    from otfuse.cli._memory import resident
    from otfuse.cli._predict_volume import plan_volume
    from otfuse.tiling.rln_plan import rln_volume_bytes

    def plan(n_bytes: int):
        return plan_volume((200, 1024, 1024), max_memory=f"{n_bytes + resident()}B")

    assert len(plan(20 << 30)) == 1
    small = plan(1 << 30)
    assert len(small) > 1
    assert rln_volume_bytes(small.tile, small.shape) <= 1 << 30
    # Two gigabytes, a fifth of them for the program: less than a quarter is computed twice.
    computed = sum(np.prod(tile.shape) for tile in plan(1600 << 20))
    assert computed < 1.25 * 200 * 1024 * 1024


def test_local_workers_share_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from otfuse.cli._predict_volume import plan_volume

    monkeypatch.setattr("otfuse.cli._memory.free_memory", lambda: 20 << 30)
    assert len(plan_volume((200, 1024, 1024))) == 1
    assert len(plan_volume((200, 1024, 1024), workers=8)) > 1


def test_memory_of_the_gpu_decides_too() -> None:
    from otfuse.cli._errors import UsageError
    from otfuse.cli._predict_volume import Gpu, plan_volume

    volume, gpu = (200, 512, 512), Gpu(free=1 << 30, per_voxel=80)
    assert len(plan_volume(volume, max_memory="20GB")) == 1
    tiles = plan_volume(volume, max_memory="20GB", gpu=gpu)
    assert len(tiles) > 1
    assert gpu.need(tiles.tile) <= gpu.free
    assert len(plan_volume(volume, max_memory="20GB", gpu=Gpu(16 << 30, 80))) == 1
    with pytest.raises(UsageError, match=r"--tile must fit into 1\.\d+ GB of the GPU"):
        plan_volume(volume, tile=512, max_memory="20GB", gpu=gpu)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--max-memory", "1KB"), "memory must hold a tile"),
        (("--max-memory", "1KB", "--tile", "48"), "give a smaller --tile"),
        (("--max-memory", "1KB", "--stitch", "published"), "leave --stitch away"),
        (("--max-memory", "much"), "predict: --max-memory must be a size"),
        (("--stitch", "smooth"), "--stitch must be one of linear, published"),
        (("--normalize", "tile"), "--normalize must be one of percentile for rln"),
        (("--tile", "20"), "--tile must exceed --overlap"),
        (("--model", "mrbcr", "--stitch", "published"), "--stitch must be one of linear for mrbcr"),
    ],
)
def test_rejects(
    predict: Predict, rng: np.random.Generator, words: tuple[str, ...], match: str
) -> None:
    image = save(predict.folder / "in.tif", beads(rng, 1, 1, 4, 60, 60))
    done = predict.run(image, *words)
    assert done.code == 2
    assert match in done.err
    assert not (predict.folder / "out.tif").exists()


def test_rejects_planes_and_what_is_not_finite(predict: Predict, rng: np.random.Generator) -> None:
    flat = save(predict.folder / "flat.tif", beads(rng, 1, 1, 1, 16, 16))
    done = predict.run(flat)
    assert done.code == 2
    assert "at least 2 voxels along z, y and x" in done.err
    volume = beads(rng, 1, 1, 4, 16, 16).astype(np.float32)
    volume[0, 0, 2, 3, 4] = np.nan
    done = predict.run(save(predict.folder / "nan.tif", volume))
    assert done.code == 2
    assert "finite" in done.err


@pytest.mark.parametrize("out", ["out.tif", "out.zarr"])
def test_two_views(predict: Predict, rng: np.random.Generator, out: str) -> None:
    torch.manual_seed(7)
    network, weights = RLN(views=2).eval(), predict.folder / "two.safetensors"
    network.save(weights)
    views = [beads(rng, 1, 1, 12, 40, 48), 3 * beads(rng, 1, 1, 12, 40, 48)]
    paths = [save(predict.folder / f"{i}.tif", view) for i, view in enumerate(views)]
    scales = [IntensityScale.of(view[0, 0]) for view in views]
    scaled = [
        scale.apply(view[0, 0].astype(np.float32)).astype(np.float32)
        for scale, view in zip(scales, views, strict=True)
    ]
    expected = network.restore(*scaled) * scales[0].span + scales[0].offset
    done = predict(
        "predict", paths[0], "-o", predict.folder / out, "--model", "rln", "--weights", weights,
        "--second-view", paths[1],
    )  # fmt: skip
    assert done.code == 0, done.err
    found = open_volume(predict.folder / out).read((0, 0))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_rejects_other_views(predict: Predict, rng: np.random.Generator) -> None:
    image = save(predict.folder / "in.tif", beads(rng, 1, 1, 4, 16, 16))
    small = save(predict.folder / "small.tif", beads(rng, 1, 1, 4, 16, 14))
    predict.run(image, "--second-view", image).failed(2, "of 2 views, got one of 1")
    predict.run(image, "--second-view", image, "--stitch", "published").failed(2, "linear")
    RLN(views=2).save(predict.folder / "two.safetensors")
    predict.weights = predict.folder / "two.safetensors"
    predict.run(image).failed(2, "of 1 view, got one of 2", "--second-view")
    predict.run(image, "--second-view", small).failed(2, "must have the image's extents")
    words = ("--second-view", small, "-o", predict.folder / "out.zarr")
    predict.run(image, *words).failed(2, "must have the image's extents")


def test_rejects_other_weights(predict: Predict, rng: np.random.Generator) -> None:
    image = save(predict.folder / "in.tif", beads(rng, 1, 1, 4, 16, 16))
    predict.weights = predict.folder / "none.safetensors"
    assert predict.run(image).code == 2


def test_volumes_into_zarr(predict: Predict, rng: np.random.Generator) -> None:
    """By tiles into an OME-Zarr, which the same command does not do twice."""
    pytest.importorskip("zarr")
    from otfuse.io import create_volume

    stack = beads(rng, 2, 1, 8, 110, 71)
    image = predict.folder / "in.zarr"
    writer = create_volume(image, stack.shape, np.uint16, chunks=(1, 1, 8, 64, 64))
    writer.write(..., stack)
    writer.finish()
    words = ("--model", "rln", "--weights", predict.weights, "--tile", 60)
    command = ("predict", image, "-o", predict.folder / "out.zarr", *words)
    done = predict(*command)
    assert done.code == 0, done.err
    assert "8 tiles of 8 x 60 x 60" in done.out
    for t in range(2):
        expected = predict.expected(stack[t, 0])
        found = open_volume(predict.folder / "out.zarr").read((t, 0))
        assert np.abs(found - expected).max() <= 1e-4 * expected.max()
    assert "nothing was left to do" in predict(*command).out
    predict(*command, "--stitch", "published").failed(2, "--stitch must be linear")
    predict(*command[:-2], "--tile", 64).failed(2, "options tile must be what", "60, got 64")


def test_a_bad_chunk_fails_its_tiles(predict: Predict, rng: np.random.Generator) -> None:
    """The scale comes from what can be read, and the rest of the volume is restored."""
    pytest.importorskip("zarr")
    from otfuse.io import create_volume

    image = predict.folder / "in.zarr"
    writer = create_volume(image, (1, 1, 8, 110, 71), np.uint16, chunks=(1, 1, 8, 64, 64))
    writer.write(..., beads(rng, 1, 1, 8, 110, 71))
    writer.finish()
    (image / "0" / "c" / "0" / "0" / "0" / "1" / "1").unlink()
    words = ("--model", "rln", "--weights", predict.weights, "--tile", 60)
    done = predict("predict", image, "-o", predict.folder / "out.zarr", *words)
    done.failed(1, "tiles failed", "run the same command again")
    assert "chunk (0, 0, 0, 1, 1)" in done.out
