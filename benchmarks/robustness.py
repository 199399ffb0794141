"""Promise: no defence is called one before an attacker who knows it has tried; measured on bundled digits or MNIST.

Five models of the compact recipe's network: plain, taught under noise, the same with smoothing (certified), hardened
by one attack step, and defensively distilled. `--quick` uses fewer epochs and rows, `--epochs` and `--rows` others;
`--data-dir` names MNIST's folder, `--figure` a file for the curves. The last line is one JSON object.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from benchmarks.losses import (
    adversarial_loss,
    cross_entropy_loss,
    defensive_distillation_loss,
    gaussian_noise_loss,
    train_with_loss,
)
from benchmarks.randomized_smoothing import certify
from pipelines.builtin.digits import COMPACT, load_split
from pipelines.data import Examples, images_of
from pipelines.engines.torch_engine import to_tensor
from pipelines.evaluation.adversarial import count_correct, fgsm, pgd
from pipelines.evaluation.png_figure import to_png
from pipelines.image.corruptions import SEVERITIES, corrupt
from pipelines.training.network import build_network
from pipelines.training.training_mix import subsample

EPSILONS = (0.05, 0.1, 0.2)
HARDENED_FOR = 0.1
SIGMA = 0.25
HEAT = 40.0
RADII = (0.0, 0.25, 0.5, 0.75)
SEED = 3


class Divided(nn.Module):
    """The logits over a temperature: what an attacker looks at who knows of defensive distillation."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits that gradients can pass."""
        made: torch.Tensor = self.network(images) / self.temperature
        return made


class Served(nn.Module):
    """The logarithm of float32 probabilities: what an attacker looks at who takes answers as they are served."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Where the model is sure, nothing passes."""
        return torch.log(torch.softmax(self.network(images), dim=1).clamp_min(1e-30))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rows", type=int)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    split = load_split(asked.data_dir)
    train = subsample(split.train, 600 if asked.quick else 4000)
    by_hash = np.argsort(np.array(split.golden.ids), kind="stable")
    rows = split.golden.take(by_hash[: asked.rows or (100 if asked.quick else 300)])
    certified_rows = rows.take(np.arange(min(len(rows), 20 if asked.quick else 100)))
    epochs, draws = asked.epochs or (6 if asked.quick else 60), 200 if asked.quick else 1000
    steps = 10 if asked.quick else 20
    models = _models(train, epochs)
    figures: dict[str, object] = {"rows": len(rows), "train_rows": len(train), "epochs": epochs, "pgd_steps": steps}
    for name, network in models.items():
        look: nn.Module = Divided(network, HEAT) if name == "distilled" else network
        figures[name] = _attacked(network, look, rows, steps) | _corrupted(network, rows)
        print(name, figures[name], flush=True)
    hidden = _attacked(models["distilled"], Served(models["distilled"]), rows, steps)
    figures["distilled, attacked as served"] = hidden
    print("distilled, attacked as served", hidden, flush=True)
    figures["smoothed"] = _certified(models["noise"], certified_rows, draws)
    print("smoothed", figures["smoothed"], flush=True)
    if asked.figure is not None:
        asked.figure.write_bytes(_drawn(figures))
    print(json.dumps(figures))


def _models(train: Examples, epochs: int) -> dict[str, nn.Module]:
    def blank(seed: int) -> nn.Module:
        return build_network(COMPACT, 10, seed=seed)

    some = COMPACT.augmentation
    hot = train_with_loss(
        blank(2), train, cross_entropy_loss(HEAT), epochs=epochs, seed=SEED, augmentation=some, learning_rate=1e-2
    )
    return {
        "plain": train_with_loss(blank(1), train, cross_entropy_loss(), epochs=epochs, seed=SEED, augmentation=some),
        "noise": train_with_loss(
            blank(1), train, gaussian_noise_loss(SIGMA, SEED), epochs=epochs, seed=SEED, augmentation=some
        ),
        "hardened": train_with_loss(
            blank(1), train, adversarial_loss(HARDENED_FOR, SEED), epochs=epochs, seed=SEED, augmentation=some
        ),
        "distilled": train_with_loss(
            blank(3),
            train,
            defensive_distillation_loss(hot, HEAT),
            epochs=epochs,
            seed=SEED,
            augmentation=some,
            learning_rate=1e-2,
        ),
    }


def _attacked(network: nn.Module, look: nn.Module, rows: Examples, steps: int) -> dict[str, float]:
    """Accuracy of the network on pictures made against `look`."""
    images, labels = to_tensor(images_of(rows.batch)), torch.from_numpy(rows.labels.copy())
    found = {"clean": count_correct(network, images, labels) / len(rows)}
    for epsilon in EPSILONS:
        found[f"fgsm_{epsilon:g}"] = count_correct(network, fgsm(look, images, labels, epsilon), labels) / len(rows)
        harmed = pgd(look, images, labels, epsilon, steps=steps)
        found[f"pgd_{epsilon:g}"] = count_correct(network, harmed, labels) / len(rows)
    return {name: round(value, 4) for name, value in found.items()}


def _corrupted(network: nn.Module, rows: Examples) -> dict[str, float]:
    labels = torch.from_numpy(rows.labels.copy())
    return {
        f"{kind}_{level}": round(
            count_correct(network, to_tensor(corrupt(images_of(rows.batch), kind, level)), labels) / len(rows), 4
        )
        for kind in SEVERITIES
        for level in (1, 2, 3)
    }


def _certified(network: nn.Module, rows: Examples, draws: int) -> dict[str, float]:
    """Share of rows answered right with a certificate of each radius at least; wrong at most 1 of 1000 each."""
    radii = []
    for number, (image, label) in enumerate(zip(to_tensor(images_of(rows.batch)), rows.labels.tolist(), strict=True)):
        found = certify(network, image, SIGMA, estimation_draws=draws, seed=number)
        radii.append(found.radius if found.predicted_class == label else -1.0)
    held = np.array(radii)
    made = {f"certified_{radius:g}": round(float((held > radius).mean()), 4) for radius in RADII}
    return {**made, "median_radius": round(float(np.median(held)), 4), "rows": len(rows), "draws": draws}


def _drawn(figures: dict[str, object]) -> bytes:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, found in figures.items():
        if isinstance(found, dict) and "clean" in found:
            axes.plot((0.0, *EPSILONS), [found["clean"], *(found[f"pgd_{e:g}"] for e in EPSILONS)], ".-", label=name)
    axes.set(xlabel="epsilon (of 1, per pixel)", ylabel="accuracy under PGD", ylim=(0, 1))
    axes.legend()
    axes.grid(alpha=0.3)
    return to_png(figure)


if __name__ == "__main__":
    main()
