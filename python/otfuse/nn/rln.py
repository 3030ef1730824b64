# SPDX-License-Identifier: BSD-3-Clause
"""The Richardson-Lucy Network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, conv_transpose3d, softplus

from otfuse import _checks
from otfuse.functional import pack_rln_weights, rln
from otfuse.functional._arrays import back_to_kind, to_tensor
from otfuse.functional._devices import has_kernels
from otfuse.io.tf_checkpoint import read_tf_checkpoint
from otfuse.nn._batch_norm import BatchNorm
from otfuse.nn._rl_steps import GRADIENTS, divide, multiply
from otfuse.nn._rln_layers import (
    CHANNELS,
    GAUSSIAN,
    NORMALISED,
    NORMALISED_VIEWS,
    convolution,
    gaussians,
)
from otfuse.nn._rln_weights import from_published
from otfuse.nn._weights import SavedNetwork, Snapshot, fill, snapshot, unchanged

MERGES = ("concatenated", "averaged")


class Restored(NamedTuple):
    """What a pass through the network gives in training."""

    prediction: Tensor  # (batch, 1, z, y, x), positive
    estimate: Tensor  # (batch, 1, z, y, x): image * back projection of the half resolution's ratio


class RLN(SavedNetwork):
    """The Richardson-Lucy Network: two Richardson-Lucy steps with learned blurs, 15 968 parameters.

    A first estimate is made at half resolution, a second one at full resolution: each blurs the
    image by convolutions, divides the image by that, projects the ratio back by convolutions and
    multiplies. Three more convolutions give the prediction.

    Parameters
    ----------
    views : {1, 2}
        How many registered views of one specimen come in, as channels.
    denominator : float
        Added to both divisors. The published weights were trained with 1e-4; the published code
        says 1e-3.
    gradients : {"exact", "published"}
        The authors replaced the derivatives of division and multiplication by simpler ones, with
        which their weights were trained; results are the same, training is not.
    merge : {"concatenated", "averaged"}
        What two views become: two channels throughout, or their mean, for views of one PSF.

    Raises
    ------
    ValueError
        If an argument is not one of those named, or the denominator is negative or not finite.

    References
    ----------
    Li et al., Nat. Methods 19, 1427 (2022).
    """

    model = "rln"

    def __init__(
        self,
        views: int = 1,
        *,
        denominator: float = 1e-4,
        gradients: str = "exact",
        merge: str = "concatenated",
    ) -> None:
        super().__init__()
        _checks.one_of("RLN", "views", views, (1, 2))
        _checks.one_of("RLN", "gradients", gradients, GRADIENTS)
        _checks.one_of("RLN", "merge", merge, MERGES)
        self.views, self.gradients, self.merge = views, gradients, merge
        self.denominator = _checks.finite_number("RLN", "denominator", denominator)
        if self.denominator < 0:
            raise ValueError(f"RLN: denominator must not be negative, got {denominator:g}")
        self.conv = nn.ModuleDict({str(k): convolution(k, self.inner_views) for k in CHANNELS})
        self.norm = nn.ModuleDict(
            {
                str(k): BatchNorm(self.inner_views if k in NORMALISED_VIEWS else n)
                for k, n in enumerate(NORMALISED)
            }
        )
        self._packed: tuple[Snapshot, Tensor] | None = None
        self.reset_parameters()

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> RLN:
        """A network with trained weights, ready for inference.

        Parameters
        ----------
        path : str or Path
            A TensorFlow checkpoint of the authors' (its folder, its `.index` file or its prefix),
            or a `.safetensors` file of ours.
        **options
            As for the constructor, in place of those saved with the weights. The authors' weights
            were trained with `denominator=1e-4`; with the published code's 1e-3 results change by
            up to 0.2 % of their maximum.

        Raises
        ------
        FileNotFoundError
            If there is nothing there.
        ValueError
            If the file is damaged, or holds the weights of another network; names the tensors that
            are missing and those that are too many.
        """
        if Path(path).suffix == ".safetensors":
            arrays, saved = cls.read_saved(path)
            options = {**saved, **options}
        else:
            arrays = from_published(read_tf_checkpoint(path))
        network = cls(**options)
        fill("RLN", network, arrays, path)
        return network.eval()

    @property
    def options(self) -> dict[str, Any]:
        """What the constructor takes to build this network again."""
        return {
            "views": self.views,
            "denominator": self.denominator,
            "gradients": self.gradients,
            "merge": self.merge,
        }

    @property
    def inner_views(self) -> int:
        """Channels of the network's input, after averaging where that is asked for."""
        return 1 if self.merge == "averaged" else self.views

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw kernels as the authors do: Gaussians for the blurs, else truncated normal ones."""
        for k in CHANNELS:
            weight = self._kernel(k)
            if k in GAUSSIAN:
                weight.copy_(gaussians(weight))
            else:
                nn.init.trunc_normal_(weight, std=1.0, a=-2.0, b=2.0)

    def forward(self, image: Tensor) -> Tensor:
        """Restore volumes that are normalised to about 0 to 1.

        Parameters
        ----------
        image : Tensor, shape (batch, views, nz, ny, nx), float32 or float64
            Each extent at least 2, even or odd.

        Returns
        -------
        Tensor, shape (batch, 1, nz, ny, nx)
            Positive everywhere. Differentiable; where no gradient is asked for (evaluation mode
            under `torch.no_grad`), float32 is left to the compiled core.

        Raises
        ------
        TypeError
            If the image is not a tensor of real floating-point numbers.
        ValueError
            If it has other axes, another number of views, or an extent below 2.
        """
        _check_image(image, self.views)
        if self._fits_core(image):
            return rln(self.merged(image), self._packed_once(), denominator=self.denominator)
        return self.restore_and_estimate(image).prediction

    def restore_and_estimate(self, image: Tensor) -> Restored:
        """The prediction and the half resolution's estimate, which training looks at as well.

        Parameters
        ----------
        image : Tensor, shape (batch, views, nz, ny, nx)
            As for `forward`.

        Returns
        -------
        Restored
            `prediction` and `estimate`, each of shape (batch, 1, nz, ny, nx).
        """
        _check_image(image, self.views)
        image = self.merged(image)
        estimate = self._half_resolution(image)
        return Restored(self._full_resolution(image, self._soft(estimate, 9)), estimate)

    def restore(self, *views: Any) -> Any:
        """Restore one volume that is normalised to about 0 to 1, given as one array a view.

        Parameters
        ----------
        *views : arrays, shape (nz, ny, nx)
            As many as the network has views, of one shape; computed in the weights' dtype.

        Returns
        -------
        array, shape (nz, ny, nx)
            The kind of the first view. Nothing is kept for gradients.

        Raises
        ------
        ValueError
            If there are more or fewer views, they differ in shape, or an extent is below 2.
        """
        if len(views) != self.views:
            raise ValueError(f"RLN: views must be {self.views} volumes, got {len(views)}")
        weight = self._kernel(1)
        volumes = [to_tensor("RLN", "views", view) for view in views]
        if len({volume.shape for volume in volumes}) > 1:
            shapes = " and ".join(str(tuple(volume.shape)) for volume in volumes)
            raise ValueError(
                f"RLN: views must have one shape, got {shapes}; register and crop them first"
            )
        with torch.no_grad():  # not in inference mode: the caller may go on computing with it
            result = self(torch.stack(volumes)[None].to(weight))[0, 0]
        return back_to_kind(views[0])(result.to(volumes[0].device))

    def packed_weights(self) -> Tensor:
        """The weights as `otfuse.functional.rln` takes them, normalisations folded in."""
        kernels = {k: self._kernel(k) for k in CHANNELS}
        norms = self.norm.values()
        affines = {k: n.affine() for k, n in enumerate(norms) if isinstance(n, BatchNorm)}
        return pack_rln_weights(kernels, affines)

    def _packed_once(self) -> Tensor:
        """`packed_weights`, made anew where one of them has changed."""
        tensors = [*self.parameters(), *self.buffers()]
        if torch.compiler.is_compiling() or any(t.is_inference() for t in tensors):
            return self.packed_weights()
        now = snapshot(tensors)
        if self._packed is not None and unchanged(self._packed[0], now):
            return self._packed[1]
        packed = self.packed_weights()
        self._packed = now, packed
        return packed

    def _apply(self, *args: Any, **kwargs: Any) -> RLN:
        """Moving and casting, of which torch counts nothing."""
        self._packed = None
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """Without what can be made again."""
        return {**self.__dict__, "_packed": None}

    def _fits_core(self, image: Tensor) -> bool:
        """Whether the compiled network serves: inference in float32."""
        weight = self._kernel(1)
        wanted = torch.is_grad_enabled() and (
            image.requires_grad or any(p.requires_grad for p in self.parameters())
        )
        return (
            not self.training
            and not wanted
            and image.device == weight.device
            and has_kernels(image.device)
            and image.dtype == weight.dtype == torch.float32
            and (torch.compiler.is_compiling() or _checks.values_visible(image))
        )

    def merged(self, image: Tensor) -> Tensor:
        """What the layers take of (batch, views, ...) images: their mean where that is asked."""
        return image if self.views == self.inner_views else image.mean(1, keepdim=True)

    def _half_resolution(self, image: Tensor) -> Tensor:
        """The first Richardson-Lucy step: image * back projection of a ratio at half resolution."""
        small = avg_pool3d(image, 2)
        a1 = self._block(small, 1, 0)
        a2 = self._block(a1, 2, 1)
        a3 = self._block(torch.cat([a1, a2], 1), 3, 2) + _repeat(softplus(small), 4)
        ratio = self.norm["3"](self._divide(small, a3))
        b4 = self._block(ratio, 4, 4)
        b5 = self._block(b4, 5, 5)
        b6 = self._block(torch.cat([b5, b4], 1), 6, 6)
        # An odd extent leaves a last plane that no voxel of the half resolution reaches: 0.
        odd = [n % 2 for n in image.shape[2:]]
        b7 = conv_transpose3d(b6, self._kernel(7), stride=2, output_padding=odd)
        b8 = self._block(self._soft(b7, 7), 8, 8)
        return multiply(image.mean(1, keepdim=True), b8.mean(1, keepdim=True), self.gradients)

    def _full_resolution(self, image: Tensor, first: Tensor) -> Tensor:
        """The second step, from the estimate `first`, and the three last convolutions."""
        d2 = self._block(self._block(image, 9, 10), 10, 11) + _repeat(softplus(image), 4)
        ratio = self.norm["12"](self._divide(image, d2))
        g2 = self._block(self._block(ratio, 11, 13), 12, 14) + 1
        updated = multiply(first, g2.mean(1, keepdim=True), self.gradients)
        second = self._soft(updated, 15)
        h1 = softplus(self.conv["13"](second))
        h2 = softplus(self.conv["14"](torch.cat([h1, second, first], 1)))
        return self._block(torch.cat([h1, h2], 1), 15, 16).mean(1, keepdim=True)

    def _kernel(self, number: int) -> Tensor:
        return self.get_parameter(f"conv.{number}.weight")

    def _block(self, x: Tensor, conv: int, norm: int) -> Tensor:
        return self._soft(self.conv[str(conv)](x), norm)

    def _soft(self, x: Tensor, norm: int) -> Tensor:
        return softplus(self.norm[str(norm)](x))

    def _divide(self, image: Tensor, blurred: Tensor) -> Tensor:
        mean = blurred.mean(1, keepdim=True).expand_as(image)
        return divide(image, mean, self.denominator, self.gradients)

    def extra_repr(self) -> str:
        """What `print` shows between the brackets."""
        merged = f", merge={self.merge!r}" * (self.views == 2)
        return (
            f"views={self.views}, denominator={self.denominator:g}, "
            f"gradients={self.gradients!r}{merged}"
        )


def _repeat(x: Tensor, channels: int) -> Tensor:
    """The channels of x over and over, to be added to `channels` of them."""
    return x.repeat(1, channels // x.shape[1], 1, 1, 1)


def _check_image(image: Tensor, views: int) -> None:
    if not isinstance(image, Tensor) or not image.is_floating_point():
        kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(f"RLN: image must be a floating-point tensor, got {kind}")
    if image.ndim != 5 or image.shape[1] != views:
        raise ValueError(
            f"RLN: image must have axes (batch, {views}, z, y, x), got shape {tuple(image.shape)}"
        )
    if min(image.shape[2:]) < 2:
        raise ValueError(
            "RLN: image must have at least 2 voxels along each axis, which pooling halves, "
            f"got {tuple(image.shape[2:])}; repeat or pad the short axis"
        )
