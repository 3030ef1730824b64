# SPDX-License-Identifier: BSD-3-Clause
"""Compare networks and Richardson-Lucy on images whose truth is known, and say what each costs.

    python bench/restoration.py --setting small --output bench/results/restoration-small.json

Every network sees the same pairs for the same number of steps, with the same loss and optimizer.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from otfuse import richardson_lucy
from otfuse.bench.measure import machine
from otfuse.metrics import psnr, ssim
from otfuse.train import MrbcrTask, Pairs, Settings, train
from restoration_data import SETS, Data, folder_data, make_data, true_psf, wrong_psf
from restoration_networks import NETWORKS, multiply_adds
from restoration_report import markdown, write_figure

RL_ITERATIONS = (2, 5, 10, 20, 40, 80)


@dataclass(frozen=True)
class Setting:
    """How much of everything."""

    steps: int
    batch: int
    crop: int
    size: int
    train: int
    validation: int
    test: int
    seeds: int
    photons: float
    background: float


SETTINGS = {
    "tiny": Setting(2, 1, 32, 48, 2, 1, 1, 1, 200, 10),
    "short": Setting(80, 2, 48, 96, 24, 3, 6, 3, 200, 10),
    "small": Setting(250, 4, 64, 128, 48, 6, 12, 3, 200, 10),
    "large": Setting(5000, 32, 128, 512, 400, 32, 64, 3, 200, 10),
}


def unit(image: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Image between 0 and 1, its lowest value and its range."""
    low, span = float(image.min()), float(np.ptp(image)) or 1.0
    return ((image - low) / span).astype(np.float32), low, span


def score(pairs: Pairs, restored: list[np.ndarray]) -> dict[str, float]:
    """Means over the images; restored ones are scaled to their truth by least squares."""
    values = [psnr(y, z) for y, z in zip(pairs.targets, restored, strict=True)]
    return {
        "psnr": statistics.fmean(values),
        "ssim": statistics.fmean(ssim(y, z) for y, z in zip(pairs.targets, restored, strict=True)),
        "rmse": statistics.fmean(10 ** (-value / 20) for value in values),
    }


def run_network(name: str, data: Data, setting: Setting, seed: int, device: str) -> dict:
    """Train on `data.train`, score on `data.test`."""
    torch.manual_seed(seed)
    network = NETWORKS[name](data.psf)
    settings = Settings(
        steps=setting.steps,
        epoch=setting.steps,
        batch=setting.batch,
        crop=setting.crop,
        patience=0,
        n_validation=4,
        precision="mixed" if device == "cuda" else "full",
        seed=seed,
    )
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train(network, MrbcrTask(), data.train, folder, settings, device=device)
    seconds = time.perf_counter() - started
    network.eval()
    restored = []
    with torch.no_grad():
        for image in data.test.inputs:
            x = torch.from_numpy(unit(image)[0])[None, None].to(device)
            restored.append(network(x)[0][0, 0].cpu().numpy())
    return {**score(data.test, restored), "training_seconds": seconds, "sample": restored[0]}


def run_richardson_lucy(psf: np.ndarray, data: Data) -> dict:
    """As many iterations as did best on the validation images."""

    def restore(pairs: Pairs, n_iters: int) -> list[np.ndarray]:
        return [richardson_lucy(x, psf, n_iters, background=data.background) for x in pairs.inputs]

    best = max(
        RL_ITERATIONS, key=lambda n: score(data.validation, restore(data.validation, n))["psnr"]
    )
    restored = restore(data.test, best)
    return {**score(data.test, restored), "iterations": best, "sample": restored[0]}


def cost(name: str, data: Data, size: int, device: str) -> dict:
    """Parameters, multiply-adds and time of one image."""
    network = NETWORKS[name](data.psf).eval().to(device)
    x = torch.rand(1, 1, size, size, device=device)
    found = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "multiply_adds": multiply_adds(network, x),
    }
    times = []
    with torch.inference_mode():
        for _ in range(6):
            started = time.perf_counter()
            network(x)
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
    return {**found, "milliseconds": 1e3 * statistics.median(times[1:])}


def contenders(data: Data, setting: Setting, seed: int, device: str):
    """Name and scores of each way to restore the test images, one after the other."""
    for name in NETWORKS:
        yield name, run_network(name, data, setting, seed, device)
    if data.psf is not None:
        yield "RL, true PSF", run_richardson_lucy(data.psf, data)
        yield "RL, wrong PSF", run_richardson_lucy(wrong_psf(), data)
    inputs = [x - data.background for x in data.test.inputs]
    yield "input", {**score(data.test, inputs), "sample": inputs[0]}


def run_set(data_of_seed, setting: Setting, device: str, scores, pictures, save, log) -> None:
    """Add the scores of all contenders, seed by seed, and pictures of the first."""
    for seed in range(setting.seeds):
        data = data_of_seed(seed)
        pictures.setdefault("truth", data.test.targets[0])
        for name, found in contenders(data, setting, seed, device):
            sample = found.pop("sample")
            pictures.setdefault(name, sample)
            scores.setdefault(name, []).append(found)
            log(f"seed {seed}, {name}: {found['psnr']:.2f} dB, SSIM {found['ssim']:.3f}")
        save()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setting", choices=SETTINGS, default="small")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--steps", type=int, help="instead of the setting's")
    parser.add_argument("--pairs", nargs=2, type=Path, metavar=("INPUT", "TARGET"), help="folders")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, required=True, help="JSON; .md and .png beside it")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    setting = SETTINGS[arguments.setting]
    if arguments.steps:
        setting = Setting(**{**asdict(setting), "steps": arguments.steps})
    started = time.perf_counter()

    def log(line: str) -> None:
        print(f"{time.perf_counter() - started:7.0f} s  {line}", file=sys.stderr, flush=True)

    if arguments.pairs:
        jobs = {"pairs": lambda seed: folder_data(*arguments.pairs, setting, seed)}
    else:
        jobs = {name: (lambda seed, n=name: make_data(n, setting, seed)) for name in arguments.sets}
    costs = Data(None, None, None, None if arguments.pairs else true_psf(), 0.0)
    report = {
        "command": " ".join(["python", "bench/restoration.py", *sys.argv[1:]]),
        "machine": machine(),
        "setting": asdict(setting),
        "cost": {n: cost(n, costs, setting.size, arguments.device) for n in NETWORKS},
        "sets": {},
    }
    pictures: dict[str, dict] = {}

    def save() -> None:
        """After each seed: a run that is stopped keeps what it has."""
        report["seconds"] = round(time.perf_counter() - started)
        write(arguments.output, report, pictures)

    for name, data_of_seed in jobs.items():
        log(f"set {name}")
        scores = report["sets"].setdefault(name, {})
        shown = pictures.setdefault(name, {})
        run_set(data_of_seed, setting, arguments.device, scores, shown, save, log)
    print(markdown(report))
    return 0


def write(output: Path, report: dict, pictures: dict) -> None:
    """JSON, table and figure."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    output.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
    write_figure(output.with_suffix(".png"), pictures, report)


if __name__ == "__main__":
    sys.exit(main())
