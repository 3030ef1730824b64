# SPDX-License-Identifier: BSD-3-Clause
"""The loss that RLN is trained with."""

from __future__ import annotations

import torch
from torch import Tensor


def global_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity from the moments of whole arrays, without windows.

    Parameters
    ----------
    a, b : Tensor
        Of one shape, on a scale of about 0 to 1.

    Returns
    -------
    Tensor, a scalar
    """
    var_a, mean_a = torch.var_mean(a, correction=0)
    var_b, mean_b = torch.var_mean(b, correction=0)
    covariance = ((a - mean_a) * (b - mean_b)).mean()
    luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a.square() + mean_b.square() + 1e-4)
    return luminance * (2 * covariance + 9e-4) / (var_a + var_b + 9e-4)


def rln_loss(prediction: Tensor, estimate: Tensor, target: Tensor, image: Tensor) -> Tensor:
    """Return mse(prediction) + 0.1 mse(estimate) - ln((1 + ssim) / 2), over the whole batch.

    The estimate of the half resolution is held against 0.8 target + 0.2 image.

    Parameters
    ----------
    prediction, estimate : Tensor, shape (batch, 1, nz, ny, nx)
        What `RLN.restore_and_estimate` gives.
    target : Tensor, shape (batch, 1, nz, ny, nx)
    image : Tensor, shape (batch, views, nz, ny, nx)
        The network's input; of several views, their mean counts.

    Returns
    -------
    Tensor, a scalar

    References
    ----------
    Li et al., Nat. Methods 19, 1427 (2022), and the published code.
    """
    halfway = 0.8 * target + 0.2 * image.mean(1, keepdim=True)
    of_estimate = (estimate - halfway).square().mean() + 1e-4
    of_prediction = (prediction - target).square().mean() + 1e-4
    similarity = global_ssim(prediction, target)
    return 0.1 * of_estimate + of_prediction - torch.log((1 + similarity) / 2)
