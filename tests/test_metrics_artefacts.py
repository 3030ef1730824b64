# SPDX-License-Identifier: BSD-3-Clause
"""Resolution, light and artefacts: against shapes whose answer is known."""

import math

import numpy as np
import pytest
import torch

from otfuse import metrics
from otfuse.psf import gaussian


def test_shells_of_equal_volumes_agree(rng):
    truth = rng.random((10, 24, 24))
    frequencies, values = metrics.fourier_shell_correlation(truth, 3 * truth, (2.0, 1.0, 1.0))
    assert len(values) == 12
    assert float(frequencies[-1]) == pytest.approx(0.5 * 11.5 / 12)
    assert torch.allclose(values, torch.ones_like(values))


def test_shells_of_a_plane_are_rings(rng):
    """Against the sum over a full transform, on a volume that the window leaves alone."""
    size = 16
    window = np.ones(size)
    for i in range(2):
        window[i] = window[-1 - i] = math.sin(0.5 * math.pi * (i + 0.5) / 2) ** 2
    x, y = rng.random((2, size, size))
    a, b = (np.fft.fft2((v - v.mean()) * np.outer(window, window)) for v in (x, y))
    k = np.fft.fftfreq(size)
    shell = (np.hypot(k[:, None], k) * 16).astype(int)
    _, values = metrics.fourier_shell_correlation(x, y)
    for i in range(8):
        part = shell == i
        expected = (a * b.conj()).real[part].sum()
        expected /= math.sqrt((abs(a[part]) ** 2).sum() * (abs(b[part]) ** 2).sum())
        assert float(values[i]) == pytest.approx(expected, abs=1e-9)


def test_resolution_is_where_a_sharp_filter_cuts(rng):
    """Random noise beyond a cutoff: agreement ends there."""
    truth = torch.from_numpy(rng.standard_normal((32, 32, 32)))
    spectrum = torch.fft.rfftn(truth)
    other = torch.fft.rfftn(torch.from_numpy(rng.standard_normal((32, 32, 32))))
    k = torch.fft.fftfreq(32)
    radius = (k[:, None, None] ** 2 + k[:, None] ** 2 + torch.fft.rfftfreq(32) ** 2).sqrt()
    mixed = torch.fft.irfftn(torch.where(radius < 0.25, spectrum, other), s=(32, 32, 32))
    assert metrics.shell_resolution(truth, mixed, (0.1, 0.1, 0.1)) == pytest.approx(0.4, rel=0.1)
    assert metrics.shell_resolution(truth, truth) == pytest.approx(2)
    assert metrics.shell_resolution(truth, -truth) == math.inf


def test_width_of_a_gaussian_bead():
    bead = gaussian((31, 41, 41), (2.0, 3.0, 4.0))
    widths = metrics.fwhm(bead, [(15, 19, 20)], (0.3, 0.1, 0.1))
    expected = torch.tensor([[0.6, 0.3, 0.4]], dtype=torch.float64) * 2.3548
    assert torch.allclose(widths, expected, rtol=0.02)


def test_width_of_what_does_not_end_is_unknown():
    widths = metrics.fwhm(torch.ones(3, 9), [(1, 4)])
    assert widths.isnan().all()
    assert metrics.fwhm(torch.ones(3, 9), []).shape == (0, 2)


def test_flux_error():
    assert metrics.flux_error(torch.ones(4), torch.full((4,), 1.1)) == pytest.approx(0.1, abs=1e-6)


def test_ringing_is_what_surrounds_a_body():
    truth = torch.zeros(1, 40, 40)
    truth[0, 15:25, 15:25] = 2
    result = truth.clone()
    assert metrics.ringing(truth, result) == 0
    result[0, 12, 20] = 0.5  # three voxels off the body
    shell = (10 + 10) ** 2 - 12**2
    scale = 400 / (400 + 0.25)
    expected = scale * 0.5 / math.sqrt(shell) / 2
    assert metrics.ringing(truth, result) == pytest.approx(expected, rel=1e-6)
    result[0, 12, 20], result[0, 0, 0] = 0, 5.0  # far from it
    assert metrics.ringing(truth, result) == 0


def test_edge_energy_is_the_error_in_the_frame():
    truth = torch.ones(20, 20)
    truth[10, 10] = 2
    result = 3 * truth
    assert metrics.edge_energy(truth, result) == pytest.approx(0, abs=1e-12)
    result[:4] = 6
    assert metrics.edge_energy(truth, result) == pytest.approx(80 / (400 - 144), rel=1e-6)
    result[10, 10] = 9
    spoiled = metrics.edge_energy(truth, result)
    assert spoiled == pytest.approx(80 / 256, rel=0.2)  # but for the scale, the interior is not in


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: metrics.flux_error(0 * t, t), "flux_error: truth must hold light"),
        (lambda t: metrics.flux_error(t, t[:2]), "result must have the shape of truth"),
        (lambda t: metrics.ringing(t, t, reach=1, gap=1), "reach must exceed gap, got 1 and 1"),
        (lambda t: metrics.ringing(t + 1, t), "truth must leave dark voxels"),
        (lambda t: metrics.edge_energy(t, t, width=3), "width must leave an interior"),
        (lambda t: metrics.edge_energy(0 * t, t, width=1), "truth must hold light near its faces"),
        (lambda t: metrics.fwhm(t, [(9, 0)]), r"centres must lie inside the image \(6, 6\)"),
        (lambda t: metrics.fwhm(t, [(1, 0)], (1.0,)), "voxel must have 2 positive edges"),
        (lambda t: metrics.shell_resolution(t, t, threshold=1.0), "threshold must lie in 0 to 1"),
        (
            lambda t: metrics.fourier_shell_correlation(t, t, (1.0, 0.0)),
            "fourier_shell_correlation: voxel must have 2 positive edges",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.arange(36.0).reshape(6, 6))
