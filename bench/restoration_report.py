# SPDX-License-Identifier: BSD-3-Clause
"""The table and the figure of a comparison."""

import statistics
from pathlib import Path

import numpy as np

_COLUMNS = (("psnr", "PSNR (dB)", "{:.2f}"), ("ssim", "SSIM", "{:.3f}"), ("rmse", "RMSE", "{:.4f}"))
_REFERENCE, _CANDIDATE = "m-rBCR as published", "m-rBCR frequency, knows the PSF"


def _spread(rows: list[dict], key: str) -> float | None:
    """Standard deviation over seeds; one alone says nothing of it."""
    return statistics.stdev(row[key] for row in rows) if len(rows) > 1 else None


def _cell(rows: list[dict], key: str, form: str) -> str:
    mean, spread = form.format(statistics.fmean(r[key] for r in rows)), _spread(rows, key)
    return mean if spread is None else f"{mean} ± {form.format(spread)}"


def _seeds(report: dict) -> int:
    """How many seeds every set has."""
    return min(len(rows) for scores in report["sets"].values() for rows in scores.values())


def markdown(report: dict) -> str:
    """Tables, one a set, and what they say of the frequency network."""
    setting, host, seeds = report["setting"], report["machine"], _seeds(report)
    over = f"mean and standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    lines = [
        f"Measured by `{report['command']}` on {host['processor']}, {host['threads']} threads, "
        f"in {report['seconds'] / 60:.0f} minutes. {setting['steps']} steps of "
        f"{setting['batch']} crops of {setting['crop']} pixels, {setting['train']} training and "
        f"{setting['test']} test images of {setting['size']} pixels; {over} (of weights, images "
        "and noise). RMSE is relative to the range of the truth; results are scaled to the truth "
        "by least squares. Richardson-Lucy runs as many iterations as did best on the validation "
        "images; it costs no training.",
        "",
    ]
    for name, scores in report["sets"].items():
        lines += [f"### {name}", "", "| method | " + " | ".join(c[1] for c in _COLUMNS) + " |"]
        lines += ["|---|" + "---|" * len(_COLUMNS)]
        for method, rows in sorted(
            scores.items(), key=lambda item: -statistics.fmean(r["psnr"] for r in item[1])
        ):
            cells = [_cell(rows, key, form) for key, _, form in _COLUMNS]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        lines += ["", _verdict(name, scores), ""]
    lines += [
        f"### cost of one image of {setting['size']}x{setting['size']}",
        "",
        "| network | parameters | multiply-adds (million) | time (ms) |",
        "|---|---|---|---|",
    ]
    for method, cost in report["cost"].items():
        lines.append(
            f"| {method} | {cost['parameters']} | {cost['multiply_adds'] / 1e6:.0f} | "
            f"{cost['milliseconds']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _verdict(name: str, scores: dict) -> str:
    """Whether the frequency network reaches the published one, within the spread."""
    ours, theirs = (
        statistics.fmean(r["psnr"] for r in scores[m]) for m in (_CANDIDATE, _REFERENCE)
    )
    spreads = [_spread(scores[m], "psnr") for m in (_CANDIDATE, _REFERENCE)]
    spread = max((s for s in spreads if s is not None), default=None)
    gap = ours - theirs
    if gap >= 0:
        word = "reaches it"
    else:
        word = "reaches it within the spread" if -gap <= (spread or 0) else "does not reach it"
    known = "one seed" if spread is None else f"spread {spread:.2f} dB"
    return (
        f"Frequency network with the PSF against the published architecture on {name}: "
        f"{gap:+.2f} dB ({known}): it {word}."
    )


def write_figure(path: Path, pictures: dict, report: dict) -> None:
    """One row a set: a test image as recorded, as restored by each, and the truth."""
    from matplotlib.figure import Figure

    names = list(next(iter(pictures.values())))
    names = ["input", *(n for n in names if n not in ("input", "truth")), "truth"]
    figure = Figure(figsize=(1.9 * len(names), 2.3 * len(pictures)), layout="constrained")
    grid = figure.subplots(len(pictures), len(names), squeeze=False)
    for row, (kind, found) in zip(grid, pictures.items(), strict=True):
        truth = found["truth"]
        for axes, name in zip(row, names, strict=True):
            picture = found[name]
            power = float((picture * picture).sum())
            picture = picture * (float((picture * truth).sum()) / power if power else 1.0)
            axes.imshow(picture, cmap="inferno", vmin=truth.min(), vmax=np.percentile(truth, 99.8))
            axes.set_axis_off()
            rows = report["sets"][kind].get(name)
            label = f"\n{rows[0]['psnr']:.1f} dB" if rows else ""
            axes.set_title(name.replace(", ", ",\n") + label, fontsize=7)
    figure.savefig(path, dpi=130, bbox_inches="tight")
