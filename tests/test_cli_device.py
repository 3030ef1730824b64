# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse deconvolve --device`: by a GPU that is none, whose copies are put off (late.py)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cli_helpers import CommandLine, counts, lopsided_psf, save
from fake_gpu import FakeGpu, gpu
from otfuse.cli import _volume_settle
from otfuse.cli._device import choose_device
from otfuse.io import create_volume, find_provenance, open_volume, read_stack
from otfuse.nn import MRBCR, RLN
from test_cli_volume import PSF, Volumes, volumes

__all__ = ["gpu", "volumes"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, one_thread: None) -> CommandLine:
    save(tmp_path / "psf.tif", lopsided_psf()[None, None])
    return CommandLine(capsys, tmp_path)


CAMERA = ("--gain", 2, "--offset", 90)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--stop", "idiv", "--iters", 12),
        (*CAMERA, "--iters", 6),
        (*CAMERA, "--stop", "gradient-consensus"),
        ("--acceleration", "biggs", "--boundary", "circular"),
        ("--boundary", "reflect", "--tv", 0.001),
        ("--back-projector", "wiener-butterworth", "--iters", 2),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_whole_images(words: tuple[object, ...], run: CommandLine, gpu: FakeGpu) -> None:
    data = counts((2, 2, 5, 16, 18))
    data[:, 0, 2, 4:8, 5:9] = 65535  # saturated
    image = save(run.folder / "in.tif", data)
    given = (image, "--psf", run.folder / "psf.tif", *words)
    here = run.deconvolve(*given, "--device", "cpu", out="here.tif")
    assert here.code == 0 and gpu.device.copies == 0 and "device      cpu\n" in here.out
    there = run.deconvolve(*given, out="there.tif")  # auto
    assert there.code == 0, there.err
    assert gpu.device.copies >= 8
    assert "device      cuda: Late 1, 12.9 GB of its memory" in there.out
    assert re.search(r"plan .* [kM]B and [\d.]+ [kM]B on the GPU", there.out)
    a, b = (read_stack(run.folder / f"{name}.tif") for name in ("here", "there"))
    np.testing.assert_array_equal(a.data, b.data)
    for stack, kind in ((a, "cpu"), (b, "cuda")):
        record = find_provenance(stack.description)
        assert record is not None and record["parameters"]["device"] == kind


def test_flat_images_go_in_batches(run: CommandLine, gpu: FakeGpu) -> None:
    psf = save(run.folder / "flat.tif", lopsided_psf((7, 7))[None, None, None])
    image = save(run.folder / "in.tif", counts((5, 1, 1, 20, 22)))
    for kind in ("cpu", "cuda"):
        done = run.deconvolve(image, "--psf", psf, "--device", kind, out=f"{kind}.tif")
        assert done.code == 0, done.err
    assert gpu.device.copies == 4  # of the rate's image and PSF, there; of the batch, both ways
    a, b = (read_stack(run.folder / f"{kind}.tif").data for kind in ("cpu", "cuda"))
    np.testing.assert_array_equal(a, b)


def test_what_the_gpu_does_not_hold_goes_in_tiles(volumes: Volumes, gpu: FakeGpu) -> None:
    data = volumes.prepare()
    image = save(volumes.folder / "in.tif", data)
    words = volumes.command(out="whole.tif")
    words[1] = str(image)
    assert volumes(*words).code == 0
    gpu.free = 8 << 20
    words[words.index("-o") + 1] = str(volumes.folder / "tiled.tif")
    done = volumes(*words)
    assert done.code == 0, done.err
    assert "that is more than it may take: in tiles" in done.out
    assert int(done.out.split(" tiles of")[0].split()[-1]) >= 3
    told = re.search(r"besides the program, ([\d.]+) MB on the GPU, about", done.out)
    assert told is not None and float(told[1]) <= 0.75 * 8.4
    whole, tiled = (read_stack(volumes.folder / f"{n}.tif").data for n in ("whole", "tiled"))
    assert np.abs(tiled - whole).max() <= 1e-3 * whole.max()


def test_what_no_tiles_can_do_falls_to_the_cpu(run: CommandLine, gpu: FakeGpu) -> None:
    gpu.free = 1 << 16
    image = save(run.folder / "in.tif", counts((1, 1, 5, 16, 18)))
    given = (image, "--psf", run.folder / "psf.tif", "--boundary", "circular")
    done = run.deconvolve(*given)
    assert done.code == 0, done.err
    assert "not to be cut into tiles: on the CPU" in done.out
    record = find_provenance(read_stack(run.folder / "out.tif").description)
    assert record is not None and record["parameters"]["device"] == "cpu"
    run.deconvolve(*given, "--device", "cuda", out="b.tif").failed(
        2, "memory must not exceed 49.2 kB on the GPU", "give --device cpu"
    )


def test_a_volume(volumes: Volumes, gpu: FakeGpu) -> None:
    """Tiles of an OME-Zarr; a job goes on where it began."""
    pytest.importorskip("zarr")
    data = volumes.prepare()
    gpu.free = 8 << 20
    done = volumes.run("--device", "cuda:0")
    assert done.code == 0, done.err
    assert gpu.device.copies >= 2 * 6
    assert int(done.out.split(" tiles of")[0].split()[-1]) >= 3
    found = open_volume(volumes.folder / "out.zarr")
    from otfuse import richardson_lucy

    for channel in range(2):
        whole = richardson_lucy(
            data[0, channel].astype(np.float32), PSF, 4, background=100, acceleration="shb"
        )
        assert np.abs(found.read((0, channel)) - whole).max() <= 1e-3 * whole.max()
    assert "nothing was left to do" in volumes.run().out
    refused = volumes.run("--device", "cpu")
    refused.failed(2, 'device must be what the output was begun with, "cuda", got "cpu"')


def test_a_stop_is_decided_there(
    volumes: Volumes, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("zarr")
    volumes.words = ("--gain", "5", "--offset", "100", "--psf-center", "none", "--iters", "20")
    volumes.prepare((1, 1, 16, 96, 110))
    seen = []
    count = _volume_settle._count

    def watched(*given: object) -> int:
        before = gpu.device.copies
        found = count(*given)  # type: ignore[arg-type]
        seen.append(gpu.device.copies - before)
        return found

    monkeypatch.setattr(_volume_settle, "_count", watched)
    assert volumes.run().code == 0
    assert seen == [1]


def test_a_gpu_too_small_for_a_tile(volumes: Volumes, gpu: FakeGpu) -> None:
    pytest.importorskip("zarr")
    volumes.prepare((1, 1, 16, 96, 110))
    gpu.free = 1 << 20
    volumes.run().failed(2, "memory must hold a tile", "786 kB on the GPU", "--device cpu")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tpu", "--device must be auto, cpu or cuda, got tpu"),
        ("cuda:x", "--device must be auto, cpu or cuda, got cuda:x"),
        ("cuda", "--device must be there, got cuda, and no GPU was found"),
    ],
)
def test_devices_that_are_none(
    name: str, words: str, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("predict", "auto").type == "cpu"
    image = save(run.folder / "in.tif", counts((1, 1, 5, 16, 18)))
    run.deconvolve(image, "--psf", run.folder / "psf.tif", "--device", name).failed(
        2, f"deconvolve: {words}"
    )
    assert not (run.folder / "out.tif").exists()


def test_errors_are_one_line(run: CommandLine, gpu: FakeGpu) -> None:
    image = save(run.folder / "in.tif", counts((1, 1, 5, 16, 18)))
    given = (image, "--psf", run.folder / "psf.tif", "--device")
    run.deconvolve(*given, "cuda:1").failed(2, "got cuda:1, and 1 GPU was found")
    gpu.without_kernels()
    run.deconvolve(*given, "cuda").failed(2, "got cuda and a build without CUDA; reinstall")
    assert choose_device("predict", "auto").type == "cuda"  # by plain torch
    done = run.deconvolve(*given, "auto")
    assert done.code == 0, done.err
    assert "otfuse was built without CUDA" in done.out and gpu.device.copies == 0


def test_info_tells_what_a_gpu_would_take(run: CommandLine, gpu: FakeGpu) -> None:
    image = save(run.folder / "in.tif", counts((1, 2, 5, 16, 18)))
    row = r"deconvolve  about [\d.]+ [kM]B and [\d.]+ [kM]B on the GPU and {} for 30 iterations"
    there = run("info", image)
    assert there.code == 0 and re.search(row.format(r"[\d.]+ s"), there.out)
    assert "of the GPU: in tiles" not in there.out
    gpu.free = 1 << 16
    assert "that is more than 49.2 kB of the GPU: in tiles" in run("info", image).out
    assert "on the GPU" not in run("info", image, "--device", "cpu").out
    absent = run("info", image, "--device", "cuda:1")
    assert absent.code == 0 and re.search(row.format("an unknown time"), absent.out)
    assert "there is no cuda:1 here to measure the time on" in absent.out
    run("info", image, "--device", "tpu").failed(2, "info: --device must be auto, cpu or cuda")


@pytest.fixture
def predict(
    run: CommandLine, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., np.ndarray]:
    """What a network makes of in.zarr or in.tif, on a device."""
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: self)
    torch.manual_seed(3)
    image = counts((1, 2, 6, 40, 44)).astype(np.float32)
    save(run.folder / "in.tif", image)
    writer = create_volume(run.folder / "in.zarr", image.shape, np.float32)
    writer.write(..., image)
    writer.finish()

    def made(model: str, kind: str, device: str, *words: object) -> np.ndarray:
        weights = run.folder / f"{model}.safetensors"
        if not weights.exists():
            {"mrbcr": MRBCR, "rln": RLN}[model]().save(weights)
        out = run.folder / f"{device}{kind}"
        given = (run.folder / f"in{kind}", "-o", out, "--model", model, "--weights", weights)
        done = run("predict", *given, "--device", device, *words)
        assert done.code == 0, done.err
        assert f"weights from {weights}, on {device}" in done.out
        return open_volume(out).read()

    return made


@pytest.mark.parametrize("kind", [".tif", ".zarr"])
@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("mrbcr", ("--tile", 32, "--overlap", 8)),
        ("mrbcr", ("--normalize", "tile", "--tile", 32, "--overlap", 8)),
        ("rln", ()),
    ],
)
def test_networks(
    model: str,
    words: tuple[object, ...],
    kind: str,
    predict: Callable[..., np.ndarray],
    gpu: FakeGpu,
) -> None:
    here = predict(model, kind, "cpu", *words)
    assert gpu.device.copies == 0
    there = predict(model, kind, "cuda", *words)
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-5 * np.abs(here).max())
    assert gpu.device.copies >= 4


def test_a_gpu_that_holds_no_plane(
    predict: Callable[..., np.ndarray], run: CommandLine, gpu: FakeGpu
) -> None:
    predict("mrbcr", ".zarr", "cuda")
    words = (run.folder / "in.zarr", "-o", run.folder / "cuda.zarr", "--weights")
    weights = run.folder / "mrbcr.safetensors"
    done = run("predict", *words, weights, "--device", "cpu")
    done.failed(2, 'device must be what the output was begun with, "cuda", got "cpu"')
    gpu.free = 1 << 18
    for kind in (".tif", ".zarr"):
        done = run("predict", words[0].with_suffix(kind), "-o", run.folder / f"a{kind}",
                   "--weights", weights)  # fmt: skip
        done.failed(2, "memory of the GPU must hold the work on a plane", "give --device cpu")
