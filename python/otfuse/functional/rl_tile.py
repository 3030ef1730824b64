# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy iterations of one tile of a larger image, with constants that all tiles share."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._arrays import to_tensor
from otfuse.functional._back_projector import KINDS, project_back
from otfuse.functional._geometry import edge_pad

_NAME = "RichardsonLucyTile"
_FLOOR = 1e-6  # of the mean, as in richardson_lucy


class RichardsonLucyTile:
    """Restores tiles that have one grid, as parts of an image that is never seen as a whole.

    The estimate of a tile lies on a box that reaches past the tile where that lies at the image's
    edge, as far as light can come from; elsewhere it may end with the tile, whose outer voxels are
    then of no use. The box is periodic. Start, floor and number of iterations are the image's.

    Parameters
    ----------
    psf : array, shape (kz, ky, kx)
        Not negative; centre at k // 2; normalised to sum 1.
    grid : sequence of int
        Extents of the periodic box, none below those of the psf.
    n_iters : int
    mean : float
        Of the whole image, hidden pixels left out.
    background : float
        Light that does not come from the object.
    acceleration : {None, "shb"}
        "biggs" takes its step from the whole image, which no tile knows.
    back_projector : {None, "wiener_butterworth", "wiener", "butterworth", "gaussian"}
    tv : float
    voxel : sequence of float, optional
        Edges of a voxel, for `tv`.

    Raises
    ------
    ValueError
        If the psf is negative, zero, not finite or larger than the grid, an option is unknown,
        or a number is not finite.
    """

    # That has its spectrum at hand.
    _last: ClassVar[Callable[[], RichardsonLucyTile | None]] = lambda: None

    def __init__(
        self,
        psf: Any,
        grid: Sequence[int],
        *,
        n_iters: int,
        mean: float,
        background: float = 0.0,
        acceleration: str | None = None,
        back_projector: str | None = None,
        tv: float = 0.0,
        voxel: Sequence[float] | None = None,
    ) -> None:
        _checks.at_least(_NAME, "n_iters", n_iters, 1)
        _checks.one_of(_NAME, "acceleration", acceleration, (None, "shb"))
        _checks.one_of(_NAME, "back_projector", back_projector, (None, *KINDS))
        kernel = to_tensor(_NAME, "psf", psf).to(torch.float32)
        _checks.light_psf(_NAME, kernel, kernel.ndim)
        _checks.fits(_NAME, tuple(kernel.shape), grid)
        self.psf = (kernel / kernel.sum()).unsqueeze(0)
        self.grid = tuple(int(n) for n in grid)
        self.n_iters, self.acceleration = n_iters, acceleration
        self.mean = _checks.finite_number(_NAME, "mean", mean)
        self.background = _checks.finite_number(_NAME, "background", background)
        self.tv = _checks.finite_number(_NAME, "tv", tv)
        self.voxel = [1.0] * kernel.ndim if voxel is None else [float(v) for v in voxel]
        self.back: Tensor | None = None
        if back_projector is not None:
            back = project_back(self.psf, kernel.ndim, back_projector)
            self.back = back / back.sum()
        self._otf: Tensor | None = None

    def __call__(
        self,
        image: Tensor,
        offset: Sequence[int],
        extents: Sequence[int],
        hidden: bool | None = None,
    ) -> Tensor:
        """The restored tile.

        Parameters
        ----------
        image : Tensor, shape (nz, ny, nx), float32
            Observed counts; negative where a pixel is to be left out. On the CPU the result takes
            their place.
        offset : sequence of int
            Where the estimate begins, counted from the tile's first voxel: 0 or below.
        extents : sequence of int
            Of the estimate, at most the grid's.
        hidden : bool, optional
            Whether pixels may be left out; looked for if not given, for which a device is waited.

        Returns
        -------
        Tensor, shape of `image`.
        """
        floor = _FLOOR * self.mean if self.mean > 0 else _FLOOR
        whole = tuple(image.shape) == self.grid
        if whole and hidden is None:
            hidden = bool(image.min() < 0)
        level = max(self.mean - self.background, floor)
        start = image.new_full((1,) * (image.ndim + 1), level).expand(1, *extents)
        if self.back is not None:
            light = torch.where(image >= 0, (image - self.background).clamp(min=floor), level)
            ends = zip(extents, image.shape, offset, strict=True)
            start = edge_pad(light.unsqueeze(0), [(-o, n - k + o) for n, k, o in ends])
        tensors = ops.LoopTensors(
            image=image.unsqueeze(0),
            kernel=self.psf.to(image.device),
            otf=self._spectrum(image),
            back_kernel=self.back if self.back is None else self.back.to(image.device),
            estimate=start,
            previous=None,
            change=None,
            floor=image.new_tensor([floor]),
            background_map=None,
            judged=None,
        )
        settings = ops.LoopSettings(
            inner=1,
            grid=self.grid,
            padded=False,
            kernel_offset=[-(k // 2) for k in self.psf.shape[1:]],
            estimate_offset=list(offset),
            background=self.background,
            judged_offset=0.0,
            n_iters=self.n_iters,
            first_iteration=0,
            acceleration=self.acceleration or "none",
            tv=self.tv,
            voxel=self.voxel,
            # All of a box that the tile fills is seen: H^T 1 is 1, and half an iteration is saved.
            weighted=not whole or bool(hidden),
            resumable=False,
            mixed=False,
        )
        if image.device.type == "cpu":
            return ops.run_loop(tensors, settings, place=tensors.image)[0][0]
        return ops.richardson_lucy(*tensors, *settings)[0][0]

    def _spectrum(self, image: Tensor) -> Tensor | None:
        """The PSF's on the CPU, made once: it is the same for all tiles.

        Channels take turns, and only the last one's is kept.
        """
        if image.device.type != "cpu":
            return None
        otf, last = self._otf, RichardsonLucyTile._last()
        if otf is None:
            if last is not None:
                last._otf = None
            otf = ops.make_otf(self.psf, self.grid, False, [-(k // 2) for k in self.psf.shape[1:]])
            self._otf, RichardsonLucyTile._last = otf, weakref.ref(self)
        return otf

    def __getstate__(self) -> dict[str, object]:
        """Without the spectrum, whose order is private to an instruction set."""
        return {**self.__dict__, "_otf": None}

    @staticmethod
    def work_bytes(
        grid: Sequence[int],
        image_shape: Sequence[int],
        *,
        acceleration: str | None = None,
        back_projector: bool = False,
        tv: bool = False,
        device: str = "cpu",
    ) -> int:
        """Memory of a call besides the image: what the loop takes; on a device, the result.

        Parameters
        ----------
        grid, image_shape : sequence of int
            Extents of the box, and of the tile at most.
        acceleration
            As for the class.
        back_projector, tv : bool
            Whether there are such.
        device : {"cpu", "cuda"}
        """
        loop = ops.richardson_lucy_bytes(
            list(grid),
            list(image_shape),
            double=False,
            acceleration=acceleration or "none",
            unmatched=back_projector,
            tv=tv,
            weighted=True,
            device=device,
        )
        voxels = math.prod(grid)
        result = 0 if device == "cpu" else 4 * math.prod(image_shape)
        return loop + result + 8 * voxels * back_projector
