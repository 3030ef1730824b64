# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures and options shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from cli_helpers import CommandLine, lopsided_psf, save

SEED = int(os.environ.get("OTFUSE_TEST_SEED", "20260"))  # change it to tell noise from a fault
SHARED = Path(
    os.environ.get("OTFUSE_SHARED", str(Path(__file__).resolve().parents[1].parent / "shared"))
)

# No deadline: the first call of a shape plans it, and machines that test are shared.
settings.register_profile("otfuse", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("otfuse")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--error-for-skips",
        action="store_true",
        help="a test that would be skipped fails: for machines that have everything",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cuda: needs a CUDA device and a build with CUDA")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    report = yield
    expected = hasattr(report, "wasxfail")
    if item.config.getoption("--error-for-skips") and report.skipped and not expected:
        report.outcome = "failed"
        report.longrepr = f"skipped under --error-for-skips: {report.longrepr}"
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda"):
        missing = missing_for_cuda()
        if missing:
            pytest.skip(missing)


def missing_for_cuda() -> str:
    """Return what there is none of that CUDA tests need, or nothing."""
    from otfuse import _C

    if _C.cuda is None:
        return "built without CUDA"
    if not torch.cuda.is_available() or not _C.cuda.device_count():
        return "no CUDA device"
    return ""


OnDevice = Callable[[Callable[..., torch.Tensor]], Callable[..., torch.Tensor]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """`otfuse` with arguments, in this process."""
    return CommandLine(capsys, tmp_path)


@pytest.fixture
def psf(tmp_path: Path) -> Path:
    """A PSF in a file."""
    return save(tmp_path / "psf.tif", lopsided_psf()[None, None])


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def on_device(request: pytest.FixtureRequest) -> OnDevice:
    """Wrap a function: its tensors go to the device, its result comes back; so do gradients."""

    def there(argument: object) -> object:
        return argument.to(request.param) if isinstance(argument, torch.Tensor) else argument

    def wrap(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def run(*arguments: object, **options: object) -> torch.Tensor:
            moved = {name: there(value) for name, value in options.items()}
            result = function(*map(there, arguments), **moved)
            assert result.device.type == request.param
            return result.cpu()

        return run

    return wrap


def simd_levels() -> list[str]:
    """Return the vector instruction sets that this machine and this build have."""
    try:
        from otfuse import _C
    except ImportError:
        return []
    return list(_C.simd_levels())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `simd_level` once on each level of the machine."""
    if "simd_level" in metafunc.fixturenames:
        metafunc.parametrize("simd_level", simd_levels(), indirect=True)


@pytest.fixture
def simd_level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Force one vector instruction set for the length of a test."""
    from otfuse import _C

    before = _C.simd_level()
    _C.set_simd(request.param)
    yield request.param
    _C.set_simd(before)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads for the length of a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute on one thread: on tiny arrays two of them mostly wait for each other.

    On a busy machine that made the suite four times slower; tests of threads set their own.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that is the same for every test; OTFUSE_TEST_SEED changes it."""
    return np.random.default_rng(SEED)


@pytest.fixture
def shared_stack() -> Callable[[str], np.ndarray]:
    """Read a stack of the shared data, or skip."""

    def read(name: str) -> np.ndarray:
        path = SHARED / "data" / name
        if not path.exists():
            pytest.skip(f"shared data missing: {path.name}; set OTFUSE_SHARED to the folder")
        tifffile = pytest.importorskip("tifffile")
        return tifffile.imread(path)

    return read


@pytest.fixture
def compiled() -> Iterator[Callable[..., Callable[..., object]]]:
    """Return `torch.compile(fullgraph=True)` with nothing left over from other tests.

    "aot_eager" traces forward and backward as the default does and needs no C++ compiler.
    """
    import torch._dynamo

    torch._dynamo.reset()

    def compile_whole(function: Callable[..., object], **options: object) -> Callable[..., object]:
        return torch.compile(function, fullgraph=True, **{"backend": "aot_eager", **options})

    yield compile_whole
    torch._dynamo.reset()
