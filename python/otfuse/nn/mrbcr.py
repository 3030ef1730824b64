# SPDX-License-Identifier: BSD-3-Clause
"""The m-rBCR network for two-dimensional images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from otfuse import _checks
from otfuse.functional._arrays import back_to_kind, to_tensor
from otfuse.io.tf_checkpoint import read_tf_checkpoint
from otfuse.nn._mrbcr_frequency import Frequency
from otfuse.nn._mrbcr_published import Published, from_keras, keras_names
from otfuse.nn._weights import SavedNetwork, fill

_SMALLEST = 16
_COARSEST = 4
# Bookkeeping of the released checkpoints that belongs to no layer.
_NOT_WEIGHTS = ("save_counter",)


class MRBCR(SavedNetwork):
    """m-rBCR: restores an image at three scales (all, a half and a quarter of its pixels).

    As published: a network for each pixel with 3x3 fusion between the scales, then a small dense
    convolutional network for each; 236 630 parameters. With `frequency`, of blocks that work on
    the image's spectrum, as the theory has it: `u = (K^T K + e)^-1 K^T y`, one stage for K^T and
    one for the inverse at each scale; 60 thousand parameters.

    Parameters
    ----------
    frequency : bool
        The network of frequency blocks instead of the published one.
    psf : array, shape (ky, kx), optional
        What blurs the images, centred at k // 2, for the network of frequency blocks, whose stages
        then contain K^T and the inverse of K^T K; it is kept with the weights. Images must be at
        least as large.
    channels, bands : int
        Width of those blocks, and octaves that have symbols of their own.

    Raises
    ------
    ValueError
        If a PSF is given to the published network, is no distribution of light or has other axes.

    References
    ----------
    Li, Kudryashev & Yakimovich, ECCV 2024; Li et al., DeBCR, for four of the released weights.
    """

    model = "mrbcr"

    def __init__(
        self, *, frequency: bool = False, psf: Any = None, channels: int = 16, bands: int = 4
    ) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("bands", bands)):
            _checks.at_least("MRBCR", name, value, 1)
        self.frequency, self._widths = frequency, (channels, bands)
        if frequency:
            light = None if psf is None else _check_psf(to_tensor("MRBCR", "psf", psf))
            self.body: nn.Module = Frequency(light, channels, bands)
            return
        if psf is not None:
            raise ValueError(
                "MRBCR: psf must be left out of the published network; give frequency=True"
            )
        self.body = Published()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Restore images that are normalised to about 0 to 1.

        Extents that are no multiples of 4 are continued by reflection, and results cropped.

        Parameters
        ----------
        image : Tensor, shape (batch, 1, ny, nx), float32 or float64
            At least 16 pixels along each axis.

        Returns
        -------
        (z0, z2, z4)
            The image at every pixel, every second and every fourth one: shapes (batch, 1, ny, nx),
            (batch, 1, ny / 2, nx / 2) and (batch, 1, ny / 4, nx / 4), rounded up. Differentiable.

        Raises
        ------
        TypeError
            If the image is not a tensor of real floating-point numbers.
        ValueError
            If it has other axes, an extent below 16, or values that are not finite (on a CUDA
            device nobody looks at them: that would have to wait for it).
        """
        _check_image(image)
        ny, nx = image.shape[2:]
        beyond = (0, -nx % _COARSEST, 0, -ny % _COARSEST)
        padded = pad(image, beyond, mode="reflect") if any(beyond) else image
        z0, z2, z4 = (
            z[..., : -(-ny // step), : -(-nx // step)]
            for step, z in zip((1, 2, 4), self.body(padded), strict=True)
        )
        return z0, z2, z4

    def restore(self, image: Any) -> Any:
        """The restored image at full resolution.

        Parameters
        ----------
        image : array, shape (..., ny, nx)
            Normalised to about 0 to 1; computed in the weights' dtype, on their device.

        Returns
        -------
        array, shape (..., ny, nx)
            The kind given, where it was. Nothing is kept for gradients.

        Raises
        ------
        ValueError
            If an extent is below 16 or values are not finite.
        """
        values = to_tensor("MRBCR", "image", image)
        if values.ndim < 2:
            raise ValueError(
                f"MRBCR: image must have axes (..., y, x), got shape {tuple(values.shape)}"
            )
        weight = next(self.parameters())
        with torch.inference_mode():
            z0, _, _ = self(values.reshape(-1, 1, *values.shape[-2:]).to(weight))
        # Out of inference mode again, so that the caller may go on computing with it.
        return back_to_kind(image)(z0.reshape(values.shape).to(values.device).clone())

    @classmethod
    def from_pretrained(cls, path: str | Path) -> MRBCR:
        """A network with trained weights.

        Parameters
        ----------
        path : str or Path
            A TensorFlow checkpoint of the authors' (its folder, its `.index` file or its prefix),
            or a `.safetensors` file of ours.

        Raises
        ------
        FileNotFoundError
            If there is nothing there.
        ValueError
            If the file is damaged, or holds the weights of another network; names the tensors that
            are missing and those that are too many.
        """
        if Path(path).suffix == ".safetensors":
            arrays, options = cls.read_saved(path)
            if "psf" in options:  # kept by its extents; its values are among the weights
                options["psf"] = torch.ones(options["psf"])
            network = cls(**options)
            fill("MRBCR", network, arrays, path)
            return network.eval()
        variables = read_tf_checkpoint(path)
        names = {
            f"{keras}/{kind}": f"body.{layer}.{'bias' if kind == 'bias' else 'weight'}"
            for layer, keras in keras_names()
            for kind in ("bias", "kernel")
        }
        arrays = {
            names.get(name, name): from_keras(name, values) if name in names else values
            for name, values in variables.items()
            if name not in _NOT_WEIGHTS
        }
        network = cls()
        fill("MRBCR", network, arrays, path)
        return network.eval()

    @property
    def options(self) -> dict[str, Any]:
        """What the constructor takes to build this network again, a PSF by its extents."""
        if not self.frequency:
            return {}
        channels, bands = self._widths
        options: dict[str, Any] = {"frequency": True, "channels": channels, "bands": bands}
        psf = dict(self.named_buffers()).get("body.psf0")
        return options if psf is None else {**options, "psf": list(psf.shape)}


def _check_psf(psf: Tensor) -> Tensor:
    if psf.ndim != 2:
        raise ValueError(
            f"MRBCR: psf must have axes (y, x), got shape {tuple(psf.shape)}; take its plane in "
            "focus"
        )
    _checks.light_psf("MRBCR", psf, 2)
    return psf.detach().to(torch.get_default_dtype()).clone()


def _check_image(image: Tensor) -> None:
    if not isinstance(image, Tensor) or not image.is_floating_point():
        kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(f"MRBCR: image must be a floating-point tensor, got {kind}")
    if image.ndim != 4 or image.shape[1] != 1:
        raise ValueError(
            f"MRBCR: image must have axes (batch, 1, y, x), got shape {tuple(image.shape)}"
        )
    if min(image.shape[2:]) < _SMALLEST:
        raise ValueError(
            f"MRBCR: image must have at least {_SMALLEST} pixels along y and x, got "
            f"{tuple(image.shape[2:])}"
        )
    if _checks.values_at_hand(image):
        _checks.finite_values("MRBCR", "image", image)
