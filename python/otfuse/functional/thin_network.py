# SPDX-License-Identifier: BSD-3-Clause
"""Whole networks of thin-channel layers in one call: the layers as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from otfuse import ops
from otfuse.functional.conv_thin import ACTIVATIONS

_CONV, _PIXEL_MLP, _PICK, _RESIZE = range(4)


class ThinProgram:
    """Layers that make buffers from buffers, beginning with the image, which is buffer 0.

    Each method adds a step and returns the number of the buffer that it makes. A buffer has a
    level: its extents are those of the image over 2^level.
    """

    image = 0

    def __init__(self) -> None:
        self.layers: list[str] = []  # names, in the order of the parameters
        self._buffers = [(1, 0)]  # (channels, level)
        self._steps: list[list[int]] = []

    def conv(
        self,
        layer: str,
        sources: Sequence[int],
        channels: int,
        *,
        activation: str = "none",
        added: int | None = None,
    ) -> int:
        """A convolution of the sources side by side, `added` added to each channel of them."""
        out = self._buffer(channels, self._buffers[sources[0]][1])
        added = -1 if added is None else added
        first = self._parameter(layer)
        self._step(_CONV, out, sources, added, ACTIVATIONS.index(activation), first, 1)
        return out

    def pixel_mlp(self, layers: Sequence[str], source: int, channels: int) -> int:
        """Dense layers on every pixel, relu after each; their names have to be new ones."""
        out = self._buffer(channels, self._buffers[source][1])
        numbers = [self._parameter(layer) for layer in layers]
        self._step(_PIXEL_MLP, out, [source], first=numbers[0], layers=len(layers))
        return out

    def pick(self, source: int, level: int) -> int:
        """Every pixel that the level has, without averaging."""
        out = self._buffer(self._buffers[source][0], level)
        self._step(_PICK, out, [source])
        return out

    def resize(self, source: int, level: int) -> int:
        """Bilinear interpolation to a level one or two lower, or one higher."""
        out = self._buffer(self._buffers[source][0], level)
        self._step(_RESIZE, out, [source])
        return out

    def code(self, outputs: Sequence[int]) -> list[int]:
        """The program as the list of numbers that the op takes."""
        buffers = [n for buffer in self._buffers for n in buffer]
        steps = [n for step in self._steps for n in step]
        counts = len(self._buffers), len(outputs), len(self._steps)
        return [counts[0], *buffers, counts[1], *outputs, counts[2], *steps]

    def _buffer(self, channels: int, level: int) -> int:
        self._buffers.append((channels, level))
        return len(self._buffers) - 1

    def _parameter(self, layer: str) -> int:
        if layer not in self.layers:
            self.layers.append(layer)
        return 2 * self.layers.index(layer)

    def _step(
        self,
        kind: int,
        out: int,
        sources: Sequence[int],
        added: int = -1,
        activation: int = 0,
        first: int = 0,
        layers: int = 0,
    ) -> None:
        self._steps.append([kind, out, added, activation, first, layers, len(sources), *sources])


def thin_network(
    image: Tensor, code: Sequence[int], layers: Sequence[str], weights: Mapping[str, Tensor]
) -> list[Tensor]:
    """Run a program, for its results only: nothing is kept for gradients.

    Parameters
    ----------
    image : Tensor, shape (batch, 1, ny, nx), float32 or float64
    code : sequence of int
        From `ThinProgram.code`.
    layers : sequence of str
        `ThinProgram.layers`.
    weights : mapping of str to Tensor
        `<layer>.weight`, (channels_out, channels_in, ky, kx), and `<layer>.bias` for each layer,
        in the image's dtype.

    Returns
    -------
    list of Tensor
        The outputs that `code` names.

    Raises
    ------
    ValueError
        If the program, or a parameter's shape, does not fit.
    """
    parameters = [weights[f"{layer}.{kind}"] for layer in layers for kind in ("weight", "bias")]
    return ops.thin_network(image, parameters, list(code))
