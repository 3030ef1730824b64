# SPDX-License-Identifier: BSD-3-Clause
"""Bad input to `otfuse deconvolve`: an exit code, one line that names the way out, no file."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from cli_helpers import MODEL, OPTICS, CommandLine, counts, lopsided_psf, save
from otfuse.cli import _memory
from otfuse.io import Optics, write


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return save(tmp_path / "image.tif", counts((1, 1, 9, 20, 22)))


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path: Path) -> Iterator[None]:
    yield
    assert not (tmp_path / "out.tif").exists() and not list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", ["image", "psf"])
def test_not_finite(what: str, value: float, run: CommandLine, tmp_path: Path) -> None:
    data = {
        "image": counts((1, 1, 9, 20, 22)).astype(np.float32),
        "psf": lopsided_psf()[None, None],
    }
    data[what][0, 0, 2, 3, 4] = value
    paths = {name: save(tmp_path / f"{name}.tif", array) for name, array in data.items()}
    outcome = run.deconvolve(paths["image"], "--psf", paths["psf"])
    outcome.failed(2, f"{what} must be finite, got NaN or infinity")


def test_negative_image(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    data = counts((1, 1, 9, 20, 22)).astype(np.float32)
    data[0, 0, 0, 0, 0] = -12.5
    image = save(tmp_path / "image.tif", data)
    outcome = run.deconvolve(image, "--psf", psf)
    outcome.failed(2, "image must not be negative", "-12.5", "--negative clip")


@pytest.mark.parametrize("pixels", [np.zeros((3, 5, 5)), -np.ones((3, 5, 5))])
def test_psf_without_light(
    pixels: np.ndarray, run: CommandLine, image: Path, tmp_path: Path
) -> None:
    psf = save(tmp_path / "dark.tif", pixels[None, None])
    run.deconvolve(image, "--psf", psf).failed(2, "--psf must hold some light")


def test_psf_of_colours(run: CommandLine, tmp_path: Path) -> None:
    """Three planes that the file says are samples: it is the PSF that is named."""
    image = save(tmp_path / "image.tif", counts((1, 1, 5, 12, 14)))
    tifffile.imwrite(tmp_path / "psf.tif", np.ones((3, 5, 5), np.float32), photometric="rgb")
    outcome = run.deconvolve(image, "--psf", tmp_path / "psf.tif")
    outcome.failed(2, "--psf must be a PSF, got", "psf.tif (", "--psf-axes: CYX")


def test_complex_image(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "c.tif", np.ones((5, 6), np.complex64))
    run.deconvolve(tmp_path / "c.tif", "--psf", psf).failed(2, "real numbers, got complex64")


@pytest.mark.parametrize("what", ["image", "psf"])
@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "complete TIFF"), (b"II*\0\0\0\0\0", "must have a page"), (None, "complete TIFF")],
    ids=["empty", "no page", "truncated"],
)
def test_broken_files(
    what: str, content: bytes | None, text: str, run: CommandLine, image: Path, psf: Path
) -> None:
    broken = image if what == "image" else psf
    broken.write_bytes(broken.read_bytes()[:-3000] if content is None else content)
    run.deconvolve(image, "--psf", psf).failed(2, "read_stack: image must", text)


@pytest.mark.parametrize("what", ["image", "psf"])
def test_missing_files(what: str, run: CommandLine, image: Path, psf: Path, tmp_path: Path) -> None:
    none = tmp_path / "none.tif"
    words = (none, "--psf", psf) if what == "image" else (image, "--psf", none)
    run.deconvolve(*words).failed(2, "No such file", "none.tif")


def test_empty_axes(run: CommandLine, image: Path, psf: Path) -> None:
    run.deconvolve(image, "--psf", psf, "--axes", "").failed(2, "axes must name Y and X, got ''")


def test_output_folder_missing(run: CommandLine, image: Path, psf: Path) -> None:
    outcome = run.deconvolve(image, "--psf", psf, out="none/out.tif")
    outcome.failed(2, "output folder must exist", "none")


def test_output_folder_not_writable(
    run: CommandLine, image: Path, psf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Path.open

    def refuse(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if "x" in mode:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return plain(path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", refuse)
    outcome = run.deconvolve(image, "--psf", psf)
    outcome.failed(2, "output folder must be writable (Permission denied)")


def test_output_exists(run: CommandLine, image: Path, psf: Path, tmp_path: Path) -> None:
    (tmp_path / "old.tif").write_bytes(b"precious")
    run.deconvolve(image, "--psf", psf, out="old.tif").failed(2, "output exists", "--overwrite")
    assert (tmp_path / "old.tif").read_bytes() == b"precious"


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_disk_full_while_writing(
    dtype: str, run: CommandLine, image: Path, psf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = write._planes

    def run_full(*arguments: Any) -> Iterator[np.ndarray]:
        for i, plane in enumerate(planes(*arguments)):
            if i == 4:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield plane

    monkeypatch.setattr(write, "_planes", run_full)
    outcome = run.deconvolve(image, "--psf", psf, "--dtype", dtype)
    outcome.failed(1, "disk full while writing; nothing was left behind", "out.tif")


def test_disk_too_small_from_the_start(
    run: CommandLine, image: Path, psf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from otfuse.io import target

    monkeypatch.setattr(target.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    run.deconvolve(image, "--psf", psf).failed(1, "output needs 0.0 MB, 0.0 MB are free")


def test_memory_over_the_limit(run: CommandLine, image: Path, psf: Path) -> None:
    outcome = run.deconvolve(image, "--psf", psf, "--max-memory", "100 kB")
    outcome.failed(2, "memory must hold a tile besides the program itself", "larger --max-memory")
    assert "plan " in outcome.out


def test_memory_that_the_program_takes_alone(run: CommandLine, image: Path, psf: Path) -> None:
    words = ["--psf", psf, "--acceleration", "biggs", "--max-memory", "50MB"]
    run.deconvolve(image, *words).failed(2, "memory must hold whole images", "got 0 kB for it")


def test_memory_over_what_is_free(
    run: CommandLine, image: Path, psf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_memory, "free_memory", lambda: 100_000)
    outcome = run.deconvolve(image, "--psf", psf)
    outcome.failed(2, "memory must hold a tile", "got 75 kB for it")


@pytest.mark.parametrize("n_psfs", [2, 3])
def test_channel_counts_differ(n_psfs: int, run: CommandLine, psf: Path, tmp_path: Path) -> None:
    n_channels = 5 - n_psfs
    image = save(tmp_path / "image.tif", counts((1, n_channels, 5, 12, 14)))
    words = ["--psf", psf] * n_psfs
    run.deconvolve(image, *words).failed(
        2, "--psf must give one PSF, or one per channel", f"got {n_psfs} for {n_channels} channels"
    )


def test_a_stack_with_a_2d_psf(run: CommandLine, image: Path, tmp_path: Path) -> None:
    flat = save(tmp_path / "flat.tif", lopsided_psf()[2:3][None, None])
    run.deconvolve(image, "--psf", flat).failed(2, "must be 3-D for a stack", "--axes TYX")


def test_a_time_series_with_a_3d_psf(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    movie = save(tmp_path / "movie.tif", counts((4, 1, 1, 12, 14)))
    outcome = run.deconvolve(movie, "--psf", psf)
    outcome.failed(2, "must be 2-D for a time series of 4 images", "--axes ZYX", "2-D PSF")


def test_a_psf_that_is_a_time_series(run: CommandLine, image: Path, tmp_path: Path) -> None:
    psf = save(tmp_path / "psf.tif", np.ones((5, 1, 1, 7, 7)))
    run.deconvolve(image, "--psf", psf).failed(2, "not be a time series", "--psf-axes ZYX")
    assert run.deconvolve(image, "--psf", psf, "--psf-axes", "ZYX", out="ok.tif").code == 0


def test_colour(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "rgb.tif", np.ones((20, 22, 3), np.uint8), photometric="rgb")
    outcome = run.deconvolve(tmp_path / "rgb.tif", "--psf", psf)
    outcome.failed(2, "grey-scale, got an RGB axis S", "--axes")


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["--iters", "0"], ["--iters must be at least 1, got 0"]),
        (["--iters", "-3"], ["--iters must be at least 1, got -3"]),
        (["--threads", "0"], ["--threads must be at least 1, got 0"]),
        (["--threads", "100000"], ["--threads must be at most 1024, got 100000"]),
        (["--max-memory", "lots"], ["--max-memory must be a size such as 8GB, got 'lots'"]),
        (["--max-memory", "0GB"], ["--max-memory must be a size"]),
        (["--background", "dark"], ["--background must be a number", "got 'dark'"]),
        (["--background", "-1"], ["--background must be a number"]),
        (["--background", "nan"], ["--background must be a number"]),
        (["--background", "1,2"], ["one value or one per channel, got 2 for 1 channels"]),
        (["--background", "9", "--offset", "8"], ["give one of them"]),
        (["--preview", "look.jpg"], ["--preview must end in .png"]),
        (["--preview", "none/look.png"], ["output folder must exist"]),
    ],
)
def test_arguments(
    words: list[str], texts: list[str], run: CommandLine, image: Path, psf: Path
) -> None:
    run.deconvolve(image, "--psf", psf, *words).failed(2, *texts)


@pytest.mark.parametrize("name", ["image.tif", "psf.tif"])
def test_what_is_read_is_never_replaced(
    name: str, run: CommandLine, image: Path, psf: Path, tmp_path: Path
) -> None:
    before = (tmp_path / name).read_bytes()
    outcome = run.deconvolve(image, "--psf", psf, "--overwrite", out=name)
    outcome.failed(2, "--output must lie apart from what is read", name)
    assert (tmp_path / name).read_bytes() == before


def test_a_link_to_itself(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    run.deconvolve(tmp_path / "loop.tif", "--psf", psf).failed(2, "symbolic links", "loop.tif")


def test_output_must_be_a_tiff(run: CommandLine, image: Path, psf: Path) -> None:
    outcome = run.deconvolve(image, "--psf", psf, out="out.png")
    outcome.failed(2, "--output must end in .tif")


def without(words: list[str], *options: str) -> list[str]:
    """The words less some options and their values."""
    kept = list(words)
    for option in options:
        at = kept.index(option)
        del kept[at : at + 2]
    return kept


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A stack that knows nothing of its voxels."""
    return save(tmp_path / "bare.tif", counts((1, 1, 9, 20, 22)), voxel=(None, None, None))


@pytest.mark.parametrize(
    "missing",
    [
        ["--na"],
        ["--wavelength"],
        ["--immersion-index"],
        ["--voxel"],
        ["--na", "--wavelength", "--immersion-index", "--voxel"],
    ],
)
def test_missing_optics_are_named(missing: list[str], run: CommandLine, bare: Path) -> None:
    outcome = run.deconvolve(bare, *without(MODEL, *missing))
    outcome.failed(2, "the widefield PSF model must be given", "--psf", *missing)


def test_missing_optics_of_a_confocal(run: CommandLine, image: Path) -> None:
    outcome = run.deconvolve(image, *MODEL, "--modality", "confocal")
    outcome.failed(2, "--excitation-wavelength and --pinhole", "one Airy unit is 0.529 µm here")


def test_missing_sheet(run: CommandLine, image: Path) -> None:
    outcome = run.deconvolve(image, *MODEL, "--modality", "lightsheet")
    outcome.failed(2, "--sheet-thickness")


@pytest.mark.parametrize(
    ("option", "value", "texts"),
    [
        ("--na", "1.4", ["--na must not exceed the immersion index 1.33", "got 1.4 (--na)"]),
        ("--na", "0", ["--na must be positive"]),
        ("--na", "nan", ["--na must be positive"]),
        ("--wavelength", "520", ["--wavelength must be in micrometres", "got 520"]),
        ("--wavelength", "0.5,0.6", ["one value or one per channel, got 2 for 1 channels"]),
        ("--voxel", "300,100,100", ["--voxel must be in micrometres"]),
        ("--voxel", "0.1,0.1", ["--voxel must be Z,Y,X, got '0.1,0.1'"]),
        ("--voxel", "0.3;0.1;0.1", ["--voxel must be a number of 0 or more, or several"]),
        ("--voxel", "0,0.1,0.1", ["--voxel must be in micrometres"]),
        ("--immersion-index", "-1", ["--immersion-index must be positive"]),
    ],
)
def test_impossible_optics(
    option: str, value: str, texts: list[str], run: CommandLine, image: Path
) -> None:
    outcome = run.deconvolve(image, *without(MODEL, option), option, value)
    outcome.failed(2, *texts)


def test_a_modality_without_a_model(run: CommandLine, tmp_path: Path) -> None:
    optics = Optics(na=1.2, immersion_index=1.33, wavelengths=(0.52,), modality="confocal")
    image = save(tmp_path / "image.ome.tif", counts((1, 1, 5, 12, 14)), optics=optics)
    told = image.read_bytes()
    mode, other = b"LaserScanningConfocalMicroscopy", b"TotalInternalReflection"
    assert told.count(mode) == 1
    # The same length, so that no offset in the file moves.
    image.write_bytes(told.replace(mode + b'"', other + b'"' + b" " * (len(mode) - len(other))))
    outcome = run.deconvolve(image)
    outcome.failed(2, "--modality must be one of", "got TotalInternalReflection", "--psf")
    assert run.deconvolve(image, "--modality", "widefield", out="ok.tif").code == 0


def test_psf_larger_than_the_image_in_circular(
    run: CommandLine, image: Path, tmp_path: Path
) -> None:
    """The command crops what the engine refuses, and warns of what that costs."""
    large = save(tmp_path / "large.tif", np.ones((1, 1, 11, 25, 25)))
    words = ["--psf", large, "--psf-center", "none", "--boundary", "circular"]
    outcome = run.deconvolve(image, *words, out="ok.tif")
    assert outcome.code == 0
    assert "cropped from 11 x 25 x 25 to 9 x 20 x 22" in outcome.out
    assert "warning     the PSF is larger" in outcome.out


def test_optics_alone_are_not_enough(run: CommandLine, bare: Path) -> None:
    run.deconvolve(bare, *OPTICS).failed(2, "must be given --voxel, which")
