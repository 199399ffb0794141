"""Trains the network of strings on batches without end, from a checkpoint where one is kept."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pipelines.engines.torch_engine import limit_threads
from pipelines.errors import TrainingError
from pipelines.strings.amount_grammar import AmountGrammar
from pipelines.strings.ctc_decoding import beam_candidates, greedy_text
from pipelines.strings.drawing.training_batches import GROUP, IGNORED, StringBatch, TrainingStrings
from pipelines.strings.drawing.written_string import WrittenString
from pipelines.strings.ink import network_input, to_height
from pipelines.strings.string_alphabet import BLANK
from pipelines.strings.string_network import StringNetwork, build_string_network
from pipelines.training.optimizer import WeightAverage
from pipelines.training.training_checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from pipelines.training.training_loop import set_memory_format

LabelledPicture = tuple[NDArray[np.uint8], str]
"""A grey picture, dark on light, and the text that is written in it."""
SURE: Final = 0.7
"""From this probability of another text on, a network contradicts a label."""
MOST_LEFT_OUT: Final = 0.2
"""Of the scans; a network that contradicts more labels is not good enough to doubt any."""


@dataclass(frozen=True, kw_only=True)
class StringRecipe:
    """Every choice of a training that changes its outcome."""

    steps: int = 12_000
    decay_steps: int = 3_000
    """The last steps, in which the learning rate falls to nothing."""
    warmup_steps: int = 300
    batch_rows: int = 24
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    first_scanned_share: float = 0.4
    """Share of scans among the strings at first, in the pre-training on synthetic strings..."""
    last_scanned_share: float = 0.75
    """...and in the decay, the fine-tuning."""
    averaging: float = 0.998
    step_loss_share: float = 0.3
    """How much the classes of single steps count beside the loss of whole strings, where they are known."""
    doubts_labels: bool = True
    """Whether the decay leaves out scans whose labels the network contradicts."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.decay_steps <= self.steps:
            raise TrainingError(f"decay_steps is {self.decay_steps} of {self.steps} steps; give 1 to all of them")
        if self.batch_rows < 2 or self.learning_rate <= 0:
            raise TrainingError(
                f"batch_rows is {self.batch_rows} and learning_rate {self.learning_rate}; give 2 or "
                "more, and a number above 0"
            )

    @property
    def first_decay_step(self) -> int:
        """The step from which the rate falls."""
        return self.steps - self.decay_steps

    def rate(self, step: int) -> float:
        """The learning rate at a step from 0: a climb, a plateau, a straight fall."""
        climb = min(1.0, (step + 1) / max(1, self.warmup_steps))
        fall = min(1.0, (self.steps - step) / self.decay_steps)
        return self.learning_rate * climb * fall

    def scanned_share(self, step: int) -> float:
        """The share of scans in the batch of this step."""
        return self.last_scanned_share if step >= self.first_decay_step else self.first_scanned_share


@dataclass(frozen=True)
class StringProgress:
    """What one look at a training saw."""

    step: int
    train_loss: float
    validation_right: float
    cpu_seconds: float


@dataclass(frozen=True, eq=False)
class TrainedStrings:
    """A trained network in evaluation mode, the looks at it, and the processor time it took."""

    network: StringNetwork
    history: tuple[StringProgress, ...]


def train_strings(
    recipe: StringRecipe,
    strings: TrainingStrings,
    validation: Sequence[LabelledPicture],
    *,
    start: StringNetwork | None = None,
    look_every: int = 100,
    on_look: Callable[[StringProgress], None] = lambda _: None,
    checkpoint_folder: Path | None = None,
    cpu_clock: Callable[[], float] = time.process_time,
) -> TrainedStrings:
    """Train all steps; a training that was killed goes on from the last look, also towards more steps than before.

    It begins with the weights of `start`, where one is given. Validation is only looked at: the weights are the running
    mean at the last step. The decay, which fine-tunes, leaves out the scans whose labels the network contradicts when
    it begins: most of these labels are wrong.
    """
    with limit_threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        run = _StringRun(recipe, strings, validation, cpu_clock, start)
        file, key = checkpoint_file(checkpoint_folder, recipe, strings, start), _key(recipe, strings, start)
        if file is not None:
            run.restore(read_checkpoint(file, key))
        while run.step < recipe.steps:
            run.advance(min(recipe.steps, run.step + look_every - run.step % look_every))
            on_look(run.history[-1])
            if file is not None:
                write_checkpoint(file, key, run.state())
    network = run.averaged.eval()
    set_memory_format(network, torch.contiguous_format)
    return TrainedStrings(network, tuple(run.history))


def checkpoint_file(
    folder: Path | None, recipe: StringRecipe, strings: TrainingStrings, start: StringNetwork | None = None
) -> Path | None:
    """Where a training keeps what it would go on from; None where no folder is given."""
    return None if folder is None else checkpoint_path(folder, _key(recipe, strings, start))


def _key(recipe: StringRecipe, strings: TrainingStrings, start: StringNetwork | None) -> str:
    """What makes two trainings one: all but how long they are, which may be told anew when one goes on."""
    digest = hashlib.sha256(repr(replace(recipe, steps=1, decay_steps=1)).encode())
    for string in strings.scanned:
        digest.update(f"{string.text} {string.ink.shape} {string.weight!r} {string.spans.shape}".encode())
        digest.update(string.ink.tobytes() + string.spans.tobytes())
    for tensor in () if start is None else start.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


class _StringRun:
    """The moving parts of one training."""

    def __init__(
        self,
        recipe: StringRecipe,
        strings: TrainingStrings,
        validation: Sequence[LabelledPicture],
        cpu_clock: Callable[[], float],
        start: StringNetwork | None,
    ) -> None:
        self._recipe, self._strings, self._cpu_clock = recipe, strings, cpu_clock
        self._validation = [(torch.from_numpy(network_input(picture)), text) for picture, text in validation]
        self._network = build_string_network(recipe.seed)
        if start is not None:
            self._network.load_state_dict(start.state_dict())
        set_memory_format(self._network, torch.channels_last)
        self._average = WeightAverage(self._network, recipe.averaging)
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.step, self.history = 0, list[StringProgress]()
        self._spent_before, self._started = 0.0, cpu_clock()
        self._group: tuple[int, list[StringBatch]] | None = None
        self._left_out: list[int] | None = None

    @property
    def averaged(self) -> StringNetwork:
        """The network whose weights are kept."""
        return cast(StringNetwork, self._average.network)

    def advance(self, until: int) -> None:
        """Train up to this step, then look at the validation part."""
        losses = torch.zeros(())
        count = until - self.step
        self._network.train()
        while self.step < until:
            losses += self._train_step()
        loss = float(losses) / count
        if not loss == loss:
            raise TrainingError(f"the loss is no number at step {self.step}; lower the learning rate")
        self.history.append(StringProgress(self.step, round(loss, 4), self._right(), round(self._spent(), 1)))

    def _train_step(self) -> torch.Tensor:
        recipe = self._recipe
        batch = self._batch()
        for group in self._optimizer.param_groups:
            group["lr"] = recipe.rate(self.step)
        self._optimizer.zero_grad(set_to_none=True)
        loss = string_loss(self._network(batch.ink), batch, recipe.step_loss_share)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 5.0)
        self._optimizer.step()
        self._average.update()
        self.step += 1
        return loss.detach()

    def _batch(self) -> StringBatch:
        """The batch of this step, from its group, which is drawn when its first or a restored step needs it."""
        recipe, (group, place) = self._recipe, divmod(self.step, GROUP)
        if self._group is None or self._group[0] != group:
            strings, share = self._taught(), recipe.scanned_share(group * GROUP)
            self._group = group, strings.batches(recipe.seed, group, recipe.batch_rows, share)
        return self._group[1][place]

    def _taught(self) -> TrainingStrings:
        """All strings until the decay, then without the scans whose labels the network contradicted when it began."""
        if self.step < self._recipe.first_decay_step or not self._recipe.doubts_labels:
            return self._strings
        if self._left_out is None:
            self._left_out = contradicted_labels(self.averaged, self._strings.scanned)
        unwanted, scanned = frozenset(self._left_out), self._strings.scanned
        return replace(self._strings, scanned=[each for row, each in enumerate(scanned) if row not in unwanted])

    def _right(self) -> float:
        if not self._validation:
            return 0.0
        network = self.averaged.eval()
        with torch.inference_mode():
            answers = [greedy_text(torch.log_softmax(network(ink)[0], 1).numpy()) for ink, _ in self._validation]
        right = sum(answer == text for answer, (_, text) in zip(answers, self._validation, strict=True))
        return round(right / len(self._validation), 4)

    def _spent(self) -> float:
        return self._spent_before + self._cpu_clock() - self._started

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "network": self._network.state_dict(),
            "average": self._average.state(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "history": [vars(look) for look in self.history],
            "spent": self._spent(),
            "random": torch.get_rng_state(),
            "left_out": self._left_out,
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on where a state was taken; nothing where there is none."""
        if state is None:
            return
        self._network.load_state_dict(state["network"])
        self._average.restore(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step, self._spent_before = int(state["step"]), float(state["spent"])
        self.history = [StringProgress(**look) for look in state["history"]]
        torch.set_rng_state(state["random"])
        self._left_out = state["left_out"]


def contradicted_labels(network: StringNetwork, scanned: Sequence[WrittenString]) -> list[int]:
    """The positions of strings that the network surely reads otherwise; none where it contradicts too many."""
    network.eval()
    found = []
    with torch.inference_mode():
        for row, string in enumerate(scanned):
            ink = torch.from_numpy(to_height(string.ink))[None, None]
            best = beam_candidates(torch.log_softmax(network(ink)[0], dim=1).numpy(), AmountGrammar())[:1]
            if best and best[0].text != string.text and math.exp(best[0].log_probability) >= SURE:
                found.append(row)
    return found if len(found) <= MOST_LEFT_OUT * len(scanned) else []


def string_loss(logits: torch.Tensor, batch: StringBatch, step_loss_share: float) -> torch.Tensor:
    """The mean loss of whole strings (CTC, by its character) and, to that share, of the steps whose class is known."""
    scores = functional.log_softmax(logits, dim=2)
    whole = functional.ctc_loss(
        scores.transpose(0, 1), batch.targets, batch.steps, batch.lengths, blank=BLANK, zero_infinity=True
    )
    known = batch.step_classes.flatten() != IGNORED
    if not known.any():
        return whole
    single = functional.nll_loss(scores.flatten(0, 1)[known], batch.step_classes.flatten()[known])
    return whole + step_loss_share * single
