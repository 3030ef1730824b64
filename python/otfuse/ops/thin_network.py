# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::thin_network: a program of thin-channel layers on images, without gradients.

The program is a list of numbers: how many buffers, of each channels, level, parent and its first
channel there; how many outputs, the buffer of each; how many steps, of each kind, out, added,
start, activation, channels activated, first parameter, layers, how many sources, the sources.
`otfuse.functional.thin_network` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops._fields import is_double, on_huge_pages
from otfuse.ops._registry import operator, register_autocast_float32, register_fake


@operator("thin_network", "(Tensor image, Tensor[] parameters, int[] program) -> Tensor[]")
def thin_network(
    image: Tensor, parameters: Sequence[Tensor], program: Sequence[int]
) -> list[Tensor]:
    """The program's outputs for images (batch, 1, y, x); parameters: weights and biases."""
    call = Call.of(image, parameters, program)
    _C.thin_network_cpu(call.job(program), torch.get_num_threads())
    return call.outputs


class Call(NamedTuple):
    """The tensors of a call as the core takes them, and those for its results."""

    image: Tensor
    parameters: list[Tensor]
    outputs: list[Tensor]

    @classmethod
    def of(cls, image: Tensor, parameters: Sequence[Tensor], program: Sequence[int]) -> Call:
        """Copies of those that do not lie as they should; TypeError if their dtypes differ."""
        strange = {p.dtype for p in parameters} - {image.dtype}
        if strange:  # the core would read them as what they are not
            raise TypeError(
                f"thin_network: image must have the parameters' dtype, got {image.dtype} and "
                f"{strange.pop()}"
            )
        image = image.contiguous()
        outputs = [on_huge_pages(out) for out in _outputs(image, program)]
        return cls(image, [p.contiguous() for p in parameters], outputs)

    def job(self, program: Sequence[int]) -> _C.ThinNetwork:
        """What the core's launchers take; the tensors have to outlive it."""
        batch, _, ny, nx = self.image.shape
        return _C.ThinNetwork(
            is_double(self.image),
            list(program),
            [(p.data_ptr(), *p.shape, *[1] * (4 - p.ndim)) for p in self.parameters],
            batch,
            (1, ny, nx),
            self.image.data_ptr(),
            [out.data_ptr() for out in self.outputs],
        )


def _outputs(image: Tensor, program: Sequence[int]) -> list[Tensor]:
    batch, _, ny, nx = image.shape
    after = 1 + 4 * program[0]
    made = []
    for buffer in program[after + 1 : after + 1 + program[after]]:
        channels, level = program[1 + 4 * buffer : 3 + 4 * buffer]
        made.append(image.new_empty((batch, channels, ny // 2**level, nx // 2**level)))
    return made


@register_fake("thin_network")
def _(image: Tensor, parameters: Sequence[Tensor], program: Sequence[int]) -> list[Tensor]:
    return _outputs(image, program)


register_autocast_float32("thin_network")
