# SPDX-License-Identifier: BSD-3-Clause
"""Optics that no microscope has are refused by name; those that are only unwise give a warning."""

import math
import warnings

import pytest

from otfuse import psf as psfs

OIL = {"na": 1.4, "wavelength": 0.52, "immersion_index": 1.515}
VOXEL = (0.2, 0.08, 0.08)


REJECTED = [
    ({"na": 1.6}, "na must not exceed immersion_index, got na 1.6 with immersion_index 1.515"),
    ({"na": 0.0}, "na must be positive"),
    ({"na": -1.0}, "na must be positive"),
    ({"na": math.nan}, "na must be positive"),
    ({"wavelength": 0.0}, "wavelength must be positive"),
    ({"wavelength": 520.0}, "wavelength must be in micrometres and at most 10, got 520; 520 nm"),
    ({"immersion_index": 0.5, "na": 0.4}, "immersion_index must be a refractive index"),
    ({"sample_index": 0.9}, "sample_index must be a refractive index"),
    ({"sample_index": 1.4, "depth": -1.0}, "depth must be finite and not negative"),
    ({"depth": 5.0}, "depth must come with sample_index"),
    ({"coverslip": 0.0}, "coverslip must be positive"),
    ({"coverslip": 160.0, "coverslip_index": 1.3}, "coverslip_index must exceed na"),
    ({"voxel": (0.2, 0.0, 0.1)}, "voxel must be three positive lengths"),
    ({"voxel": (0.1, 0.1)}, "voxel must be three positive lengths"),
    ({"shape": (5, 0, 5)}, "shape must be three positive integers"),
    ({"shape": (5.5, 5, 5)}, "shape must be three positive integers"),
]


@pytest.mark.filterwarnings("ignore:widefield. na:UserWarning")
@pytest.mark.parametrize(("change", "message"), REJECTED, ids=lambda case: str(case)[:40])
def test_rejects_the_impossible(change, message):
    arguments = {"shape": (3, 5, 5), "voxel": VOXEL, **OIL, **change}
    with pytest.raises(ValueError, match=f"widefield: {message}"):
        psfs.widefield(arguments.pop("shape"), arguments.pop("voxel"), **arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: psfs.confocal((3, 5, 5), VOXEL, excitation_wavelength=488.0, **OIL),
            "confocal: excitation_wavelength must be in micrometres",
        ),
        (
            lambda: psfs.confocal((3, 5, 5), VOXEL, excitation_wavelength=0.4, pinhole=-1.0, **OIL),
            "confocal: pinhole must be finite and not negative",
        ),
        (
            lambda: psfs.spinning_disk(
                (3, 5, 5), VOXEL, excitation_wavelength=0.4, pinhole=0.0, **OIL
            ),
            "spinning_disk: pinhole must be positive",
        ),
        (
            lambda: psfs.spinning_disk(
                (3, 5, 5), VOXEL, excitation_wavelength=0.4, pinhole_spacing=0.5, **OIL
            ),
            "spinning_disk: pinhole_spacing must be at least 1",
        ),
        (
            lambda: psfs.two_photon((3, 5, 5), VOXEL, na=1.0, excitation_wavelength=800.0),
            "two_photon: excitation_wavelength must be in micrometres",
        ),
        (
            lambda: psfs.widefield(
                (3, 5, 5), VOXEL, na=1.6, wavelength=0.5, immersion_index=1.7, vectorial=True
            ),
            "widefield: coverslip_index must exceed na, got 1.515 with na 1.6",
        ),
        (
            lambda: psfs.light_sheet((3, 5, 5), VOXEL, sheet_thickness=0.0, **OIL),
            "light_sheet: sheet_thickness must be positive",
        ),
        (lambda: psfs.gaussian((3, 3), (1.0, 2.0, 3.0)), "gaussian: sigma must be a number"),
        (lambda: psfs.gaussian((3, 3), -1.0), "gaussian: sigma must be a number"),
        (lambda: psfs.gaussian((3, 0), 1.0), "gaussian: shape must hold positive integers"),
    ],
)
def test_other_models_reject(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_aperture_above_the_sample_only_warns():
    with pytest.warns(psfs.SphericalAberrationWarning, match=r"na 1.4 exceeds sample_index 1.33"):
        psf = psfs.widefield((5, 9, 9), VOXEL, sample_index=1.33, depth=2.0, **OIL)
    assert float(psf.sum()) == pytest.approx(1, abs=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        psfs.widefield((5, 9, 9), VOXEL, sample_index=1.45, depth=2.0, **OIL)
