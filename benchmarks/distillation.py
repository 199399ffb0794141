"""Promise: a student of at most 25 000 parameters reads nearly as well as its teacher; beside the same student alone.

Both have the body of the recipe `best`, the student with about a quarter of its teacher's parameters. `--quick` takes
few epochs on the bundled digits; `--data-dir` names MNIST's folder, `--rows` and `--epochs` how much of it. The last
line is one JSON object.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from benchmarks.losses import LossFn, cross_entropy_loss, distillation_loss, train_with_loss
from pipelines.builtin.digits import BEST, COMPACT, load_split
from pipelines.data import Examples, images_of
from pipelines.engines.torch_engine import logits_of
from pipelines.evaluation.classification_scores import wilson_interval
from pipelines.training.network import build_network, parameter_count
from pipelines.training.training_mix import subsample

MOST_PARAMETERS = 25_000
STUDENT = replace(BEST, name="student", channels=(8, 20, 36), dropout=0.0, augmentation=COMPACT.augmentation)
TEACHER = replace(BEST, name="teacher", channels=(24, 48, 64), augmentation=COMPACT.augmentation)
TEMPERATURE, SHARE = 4.0, 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    split = load_split(asked.data_dir)
    train = subsample(split.train, asked.rows)
    judged = split.golden if asked.data_dir is None else Examples.concat("test", split.golden, split.stream)
    epochs = asked.epochs or (8 if asked.quick else 40)
    teacher, spent = _taught(TEACHER.name, cross_entropy_loss(), train, epochs, asked.seed)
    alone, _ = _taught(STUDENT.name, cross_entropy_loss(), train, epochs, asked.seed + 1)
    student, _ = _taught(STUDENT.name, distillation_loss(teacher, TEMPERATURE, SHARE), train, epochs, asked.seed + 1)
    if parameter_count(student) > MOST_PARAMETERS:
        raise SystemExit(f"the student has {parameter_count(student)} parameters, more than {MOST_PARAMETERS}")
    figures: dict[str, object] = {
        "train_rows": len(train),
        "test_rows": len(judged),
        "epochs": epochs,
        "teacher_parameters": parameter_count(teacher),
        "student_parameters": parameter_count(student),
        "teacher_train_s": round(spent, 1),
    }
    for name, network in (("teacher", teacher), ("student_alone", alone), ("student_distilled", student)):
        right = int((logits_of(network, images_of(judged.batch)).argmax(axis=1) == judged.labels).sum())
        figures[name] = round(right / len(judged), 5)
        figures[f"{name}_interval"] = [round(limit, 5) for limit in wilson_interval(right, len(judged))]
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(json.dumps(figures))


def _taught(name: str, lesson: LossFn, train: Examples, epochs: int, seed: int) -> tuple[nn.Module, float]:
    recipe = TEACHER if name == TEACHER.name else STUDENT
    begun = time.perf_counter()
    network = build_network(recipe, 10, seed=seed)
    made = train_with_loss(network, train, lesson, epochs=epochs, seed=seed, augmentation=recipe.augmentation)
    return made, time.perf_counter() - begun


if __name__ == "__main__":
    main()
