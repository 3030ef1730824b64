# SPDX-License-Identifier: BSD-3-Clause
"""The picture of before and after: it is written, whole, at physical aspect and at one contrast."""

import numpy as np
import pytest
import torch

from otfuse import _preview
from otfuse._preview import write_preview

image_of = pytest.importorskip("matplotlib.image").imread


@pytest.fixture
def volumes(rng):
    before = rng.random((12, 30, 40)) + 10
    before[6, 15, 20] = 30
    return before, before**2


@pytest.mark.parametrize("voxel", [(0.3, 0.1, 0.1), (None, 0.1, 0.1), (None, None, None), None])
def test_writes_a_png(volumes, voxel, tmp_path):
    path = tmp_path / "out.png"
    write_preview(path, *volumes, voxel, title="a title")
    picture = image_of(path)
    assert picture.ndim == 3
    assert min(picture.shape[:2]) > 300
    assert picture[..., :3].std() > 0.05
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize("shape", [(25, 40), (1, 25, 40), (1, 1, 25, 40), (80, 5, 7), (3, 200, 6)])
def test_other_shapes(rng, shape, tmp_path):
    before = rng.random(shape)
    write_preview(tmp_path / "out.png", before, 2 * before, (0.2, 0.1, 0.1))
    assert (tmp_path / "out.png").stat().st_size > 1000


def test_torch_tensors_and_constant_volumes(tmp_path):
    flat = torch.zeros(3, 8, 8, requires_grad=True)
    write_preview(tmp_path / "out.png", flat, flat, (1, 1, 1))
    assert image_of(tmp_path / "out.png").size > 0


def test_replaces_an_earlier_picture(volumes, tmp_path):
    path = tmp_path / "out.png"
    path.write_text("old")
    write_preview(path, *volumes, None)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_views_show_the_same_place_before_and_after(volumes):
    slices, projections = _preview._views(*volumes)
    assert slices.cut == (6, 15)
    np.testing.assert_array_equal(slices.xy[0], volumes[0][6])
    np.testing.assert_array_equal(slices.xz[1], volumes[1][:, 15])
    np.testing.assert_array_equal(projections.xy[1], volumes[1].max(0))
    np.testing.assert_array_equal(projections.xz[0], volumes[0].max(1))


def test_one_contrast_for_both(volumes):
    view = _preview._views(*volumes)[0]
    norm = _preview._contrast(view)
    shown = np.concatenate([view.xy[1].ravel(), view.xz[1].ravel()])
    assert norm.vmax == pytest.approx(np.percentile(shown, 99))
    assert norm.vmin < view.xy[0].mean()


@pytest.mark.parametrize("voxel", [(0.3, 0.1, 0.1), (0.1, 0.2, 0.05)])
def test_panels_have_physical_aspect(volumes, voxel):
    views = _preview._views(*volumes)
    layout = _preview._Layout.of(views, (*voxel, "µm"))
    nz, ny, nx = volumes[0].shape
    assert layout.height / layout.width == pytest.approx(ny * voxel[1] / (nx * voxel[2]))
    assert layout.under / layout.width == pytest.approx(nz * voxel[0] / (nx * voxel[2]))
    figure = _preview._draw(views, (*voxel, "µm"), "", ("before", "after"))
    wide, high = figure.get_size_inches()
    boxes = [axes.get_position() for axes in figure.axes]
    assert min(min(box.x0, box.y0) for box in boxes) >= 0
    assert max(max(box.x1, box.y1) for box in boxes) <= 1
    panel = figure.axes[0].get_position()
    assert panel.height * high / (panel.width * wide) == pytest.approx(layout.height / layout.width)


@pytest.mark.parametrize(
    ("longest", "expected"), [(1.0, 1), (1.9, 1), (2.0, 2), (7.3, 5), (0.03, 0.02), (24.9, 20)]
)
def test_scale_bars_have_round_lengths(longest, expected):
    assert _preview._round_length(longest) == pytest.approx(expected)


def test_rejects(volumes, tmp_path):
    before, after = volumes
    with pytest.raises(ValueError, match="after must have the shape of before"):
        write_preview(tmp_path / "out.png", before, after[1:], None)
    with pytest.raises(ValueError, match=r"axes \(z, y, x\) or \(y, x\)"):
        write_preview(tmp_path / "out.png", np.ones((2, 2, 3, 4)), np.ones((2, 2, 3, 4)), None)
    with pytest.raises(OSError, match="nowhere"):
        write_preview(tmp_path / "nowhere" / "out.png", before, after, None)
    assert list(tmp_path.iterdir()) == []
