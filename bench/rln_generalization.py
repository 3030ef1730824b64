# SPDX-License-Identifier: BSD-3-Clause
"""Does RLN, trained on simple synthetic bodies, restore other structures, and better than RL?

    python bench/rln_generalization.py --setting small --output bench/results/rln-generalization

trains one network per number of training volumes on mixed bodies seen through one PSF, and compares
it with Richardson-Lucy on bodies it has not seen, on filaments, on the pollen of the shared data
where that is there, and on images of another PSF than both were told of. A JSON file and a figure
are written. PSNR and SSIM are taken over the truth's range, after the factor and the offset that
bring a result closest to the truth: a network does not know where an image's zero lies, and SSIM
weighs that in every empty voxel. `ssim_scaled` has the factor alone. "RL at its best" stops where
the truth says that it is best, which nobody can do who has only the image.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import otfuse
from otfuse import metrics, simulate
from otfuse.nn import RLN
from otfuse.nn.rln_scale import IntensityScale
from otfuse.train import Pairs, RlnTask, Settings, train

VOXEL = (0.25, 0.13, 0.13)
ORACLE = (2, 4, 7, 10, 15, 20, 30, 45, 65, 100)
SHARED = Path(os.environ.get("OTFUSE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@dataclass(frozen=True)
class Setting:
    """How large all this is."""

    shape: tuple[int, int, int]
    crop: int
    batch: int
    steps: int
    counts: tuple[int, ...]
    n_test: int
    photons: float
    background: float
    learning_rate: float = 0.015
    seed: int = 0


SETTINGS = {
    "tiny": Setting((16, 48, 48), 16, 2, 4, (2,), 1, 40.0, 4.0),
    "small": Setting((32, 96, 96), 32, 2, 1500, (1, 4, 16, 64), 2, 20.0, 2.0),
    "large": Setting((64, 128, 128), 64, 4, 10_000, (1, 4, 16, 64), 4, 40.0, 4.0),
}


@dataclass(frozen=True)
class Sample:
    """What a microscope records of a structure, and what is there."""

    structure: str
    image: Tensor
    truth: Tensor


def microscope(na: float, sheet: float) -> Tensor:
    """A light sheet's PSF."""
    return otfuse.psf.light_sheet(
        (17, 21, 21), VOXEL, na=na, wavelength=0.53, sheet_thickness=sheet, immersion_index=1.33
    )


def bodies(setting: Setting, seed: int) -> Tensor:
    """Spheres and hollow ellipsoids of random brightness: what is learned from."""
    rng = np.random.default_rng(seed)
    parts = (simulate.beads(setting.shape, seed=seed), simulate.shells(setting.shape, seed=seed))
    mixed = sum(float(rng.uniform(0.3, 1)) * part for part in parts)
    return mixed / mixed.max()


def record(setting: Setting, truth: Tensor, psf: Tensor, seed: int) -> Tensor:
    """Photon counts."""
    return simulate.blur_and_noise(truth, psf, setting.photons, setting.background, seed)


def training_pairs(setting: Setting, count: int, psf: Tensor) -> Pairs:
    """The first `count` training volumes, and one to validate with."""
    inputs, targets = [], []
    for i in range(count + 1):
        truth = bodies(setting, 1000 + i)
        inputs.append(record(setting, truth, psf, 1000 + i).numpy())
        targets.append(truth.numpy())
    return Pairs(inputs, targets)


def learn(setting: Setting, count: int, psf: Tensor) -> tuple[RLN, float]:
    """A network trained on so many volumes, and the seconds that it took."""
    torch.manual_seed(setting.seed)
    settings = Settings(
        steps=setting.steps,
        epoch=max(1, setting.steps // 8),
        batch=setting.batch,
        crop=setting.crop,
        learning_rate=setting.learning_rate,
        patience=0,
        n_validation=8,
        validation_share=1 / (count + 1),
        seed=setting.seed,
    )
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        # The rate ends at a twentieth of what it was, however short the run.
        task = RlnTask(decay_steps=max(1, setting.steps // 60))
        train(RLN(), task, training_pairs(setting, count, psf), folder, settings)
        network = RLN.from_pretrained(Path(folder) / "best.safetensors")
    return network, time.perf_counter() - start


def samples(setting: Setting, psf: Tensor, other: Tensor) -> Iterator[Sample]:
    """Structures like those learned from, others, and images of another PSF."""
    makers: dict[str, tuple[Callable[[int], Tensor], Tensor]] = {
        "bodies": (lambda seed: bodies(setting, seed), psf),
        "filaments": (lambda seed: simulate.filaments(setting.shape, seed=seed), psf),
        "filaments, another PSF": (
            lambda seed: simulate.filaments(setting.shape, seed=seed),
            other,
        ),
    }
    for structure, (make, light) in makers.items():
        for i in range(setting.n_test):
            truth = make(50 + i)
            truth = truth / truth.max()
            yield Sample(structure, record(setting, truth, light, 50 + i), truth)
    pollen = pollen_truth(setting)
    if pollen is not None:
        yield Sample("pollen", record(setting, pollen, psf, 50), pollen)


def pollen_truth(setting: Setting) -> Tensor | None:
    """The middle of the shared pollen, or None where it is not there."""
    path = SHARED / "data" / "sdeconv_pollen.tif"
    if not path.exists():
        return None
    volume = otfuse.io.read_stack(path).data[0, 0]
    starts = [(n - k) // 2 for n, k in zip(volume.shape, setting.shape, strict=True)]
    if min(starts) < 0:
        return None
    place = tuple(slice(a, a + k) for a, k in zip(starts, setting.shape, strict=True))
    cut = torch.from_numpy(volume[place].astype(np.float32))
    return (cut - cut.min()) / (cut.max() - cut.min())


def restored(sample: Sample, psf: Tensor, setting: Setting) -> Iterator[tuple[str, Tensor]]:
    """The image itself, and what the kinds of Richardson-Lucy make of it."""
    yield "image", sample.image - setting.background
    options = {"background": setting.background, "ndim": 3}

    def run(n: int, **more: object) -> Tensor:
        return otfuse.richardson_lucy(sample.image, psf, n, **options, **more)

    for n in (10, 30, 100):
        yield f"RL {n}", run(n)
    yield "RL at its best", max((run(n) for n in ORACLE), key=lambda x: score(sample, x)["ssim"])
    yield "RL-TV 30", run(30, tv=0.01)
    yield "WB 2", run(2, back_projector="wiener_butterworth")


def score(sample: Sample, result: Tensor) -> dict[str, float]:
    """PSNR and SSIM after a least-squares fit, and SSIM after least-squares scaling alone."""
    truth, x = sample.truth.double(), result.double()
    centred = x - x.mean()
    slope = (centred * truth).sum() / centred.square().sum()
    fitted = truth.mean() + slope * centred
    return {
        "psnr": metrics.psnr(truth, fitted, scale=False),
        "ssim": metrics.ssim(truth, fitted, scale=False),
        "ssim_scaled": metrics.ssim(truth, x),
    }


def apply(network: RLN, image: Tensor) -> Tensor:
    """The network at work, on the scale of the image's percentiles."""
    scale = IntensityScale.of(image.numpy())
    return network.restore(scale.apply(image).float())


def compare(setting: Setting) -> dict[str, object]:
    """Train, restore, measure."""
    psf, other = microscope(0.8, 2.0), microscope(1.0, 3.0)
    networks, seconds = {}, {}
    for count in setting.counts:
        networks[f"RLN, {count} volumes"], seconds[count] = learn(setting, count, psf)
        print(f"trained on {count} volumes in {seconds[count]:.0f} s", flush=True)
    rows: list[dict[str, object]] = []
    shown: dict[str, dict[str, Tensor]] = {}
    for sample in samples(setting, psf, other):
        results = dict(restored(sample, psf, setting))
        results |= {name: apply(network, sample.image) for name, network in networks.items()}
        for name, result in results.items():
            rows.append({"structure": sample.structure, "method": name, **score(sample, result)})
        shown.setdefault(sample.structure, {"truth": sample.truth, **results})
    return {"rows": rows, "seconds": seconds, "shown": shown}


def table(rows: list[dict[str, object]]) -> dict[str, dict[str, dict[str, float]]]:
    """Means by structure and method."""
    means: dict[str, dict[str, dict[str, float]]] = {}
    for structure in dict.fromkeys(str(row["structure"]) for row in rows):
        for method in dict.fromkeys(str(row["method"]) for row in rows):
            own = [r for r in rows if r["structure"] == structure and r["method"] == method]
            means.setdefault(structure, {})[method] = {
                key: float(np.mean([float(str(row[key])) for row in own]))
                for key in ("psnr", "ssim", "ssim_scaled")
            }
    return means


def show(means: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print the table."""
    structures = list(means)
    print(f"{'PSNR, SSIM':<18}" + "".join(f"{name:>24}" for name in structures))
    for method in means[structures[0]]:
        cells = (means[name][method] for name in structures)
        print(f"{method:<18}" + "".join(f"{c['psnr']:>16.2f} {c['ssim']:.3f}  " for c in cells))


def draw(shown: dict[str, dict[str, Tensor]], path: Path) -> None:
    """The middle plane of the first volume of each structure, by method."""
    from matplotlib.figure import Figure

    names = [n for n in next(iter(shown.values())) if n not in ("RL 10", "RL 100", "RL-TV 30")]
    figure = Figure(figsize=(1.7 * len(names), 1.9 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), len(names), squeeze=False)
    for i, (structure, results) in enumerate(shown.items()):
        for axes, name in zip(grid[i], names, strict=True):
            plane = results[name][results[name].shape[0] // 2].numpy()
            axes.imshow(plane, cmap="inferno", vmin=0, vmax=float(np.percentile(plane, 99.8)))
            axes.set_xticks([])
            axes.set_yticks([])
            if i == 0:
                axes.set_title(name, fontsize=8)
        grid[i][0].set_ylabel(structure, fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run one setting and write its results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setting", choices=SETTINGS, default="small")
    parser.add_argument("--counts", type=int, nargs="+", help="training volumes, for those of it")
    parser.add_argument("--output", type=Path, required=True, help="name without its ending")
    given = parser.parse_args()
    setting, start = SETTINGS[given.setting], time.perf_counter()
    if given.counts:
        setting = replace(setting, counts=tuple(given.counts))
    found = compare(setting)
    means = table(found["rows"])  # type: ignore[arg-type]
    show(means)
    record = {
        "command": f"python bench/rln_generalization.py --setting {given.setting}"
        + "".join(f" {word}" for word in (["--counts", *given.counts] if given.counts else []))
        + " --output NAME",
        "setting": asdict(setting),
        "otfuse": otfuse.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - start, 1),
        "training_seconds": {str(k): round(v, 1) for k, v in found["seconds"].items()},  # type: ignore[attr-defined]
        "means": means,
    }
    given.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    draw(found["shown"], given.output.with_suffix(".png"))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
