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
        self._buffers = [(1, 0, -1, 0)]  # channels, level; whose part, and from which channel on
        self._steps: list[list[int]] = []

    def conv(
        self,
        layer: str,
        sources: Sequence[int],
        channels: int,
        *,
        activation: str = "none",
        activated: int | None = None,
        added: int | None = None,
        start: int | None = None,
    ) -> int:
        """A convolution of the sources side by side, `added` added to each channel of them.

        Its sums start from those of the buffer `start`; only the first `activated` channels of the
        result are activated (default: all).
        """
        out = self._buffer(channels, self._buffers[sources[0]][1])
        self._step(
            _CONV,
            out,
            sources,
            added=-1 if added is None else added,
            start=-1 if start is None else start,
            activation=ACTIVATIONS.index(activation),
            activated=channels if activated is None else activated,
            first=self._parameter(layer),
            layers=1,
        )
        return out

    def part(self, buffer: int, first: int, channels: int) -> int:
        """Some of a buffer's channels, where they are: no step, nothing is copied."""
        self._buffers.append((channels, self._buffers[buffer][1], buffer, first))
        return len(self._buffers) - 1

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
        self._buffers.append((channels, level, -1, 0))
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
        *,
        added: int = -1,
        start: int = -1,
        activation: int = 0,
        activated: int = 0,
        first: int = 0,
        layers: int = 0,
    ) -> None:
        options = [added, start, activation, activated, first, layers]
        self._steps.append([kind, out, *options, len(sources), *sources])


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
