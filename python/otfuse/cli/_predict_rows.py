# SPDX-License-Identifier: BSD-3-Clause
"""Restoring volumes by RLN on the CPU: rows in, rows out, without tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from otfuse.cli._predict_work import Restore, Work, WriteRows
from otfuse.io import release_pages

if TYPE_CHECKING:
    from otfuse.cli._predict_options import PredictOptions
    from otfuse.cli._report import Report
    from otfuse.cli._steps import Steps
    from otfuse.functional.rln_rows import RowStrip


def work_by_rows(
    options: PredictOptions, network: Any, extents: Sequence[int], report: Report, need: int
) -> Work:
    """Strips of rows, one read and one written while another is restored.

    Parameters
    ----------
    options : PredictOptions
    network : RLN
        On the CPU.
    extents : (nz, ny, nx)
    report : Report
        Told the plan.
    need : int
        What `rln_rows_bytes` says.
    """
    from otfuse.cli._report import how_many, in_bytes
    from otfuse.functional import row_strips

    strips = row_strips(extents, network.inner_views)
    height = max(strip.makes.stop - strip.makes.start for strip in strips)
    report.row(
        "plan",
        f"{how_many(len(strips), 'strip')} of up to {height} rows, nothing computed twice, "
        f"{in_bytes(need)}, intensities by the volume's percentiles",
    )
    return Work(_restorer(options, network, extents), len(strips), "strips")


def _restorer(options: PredictOptions, network: Any, extents: Sequence[int]) -> Restore:
    import torch

    from otfuse.functional import RlnRows
    from otfuse.nn.rln_scale import IntensityScale
    from otfuse.tiling import in_turns

    def restore(volumes: Sequence[np.ndarray], write: WriteRows, steps: Steps) -> None:
        scales = [IntensityScale.of_file(volume) for volume in volumes]
        walk = RlnRows(
            extents,
            network.packed_weights(),
            views=network.inner_views,
            denominator=network.denominator,
        )

        def read(strip: RowStrip) -> torch.Tensor:
            views = [
                torch.from_numpy(scale.to_network(volume[:, strip.reads]))
                for volume, scale in zip(volumes, scales, strict=True)
            ]
            for volume in volumes:
                release_pages(volume)
            image = views[0][None] if len(views) == 1 else torch.stack(views)
            return network.merged(image[None])[0]

        def compute(strip: RowStrip, image: torch.Tensor) -> tuple[int, np.ndarray]:
            result = walk.restore(image).numpy()
            steps.advance()
            return strip.makes.start, result

        def finish(made: tuple[int, np.ndarray]) -> None:
            row, result = made
            if options.scale == "image":  # the first view's
                scales[0].to_image(result)
            write(row, result.transpose(1, 0, 2))

        in_turns(walk.strips, read, compute, finish)

    return restore
