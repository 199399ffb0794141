"""Searches for a better recipe by trials; it looks at validation rows only, never at golden ones.

Optuna proposes and remembers (TPE and median pruning); its study lives in a database, so that a search that was
broken off goes on. It is installed by the extra `search`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.data import Examples
from pipelines.errors import SearchError, TrainingError
from pipelines.pipeline import Pipeline
from pipelines.recipe import Augmentation, NetworkRecipe
from pipelines.trainer import EpochMetrics
from pipelines.training.network import network_for
from pipelines.training.training_loop import fit
from registry.mlflow_connection import mask_uri, sqlite_path
from registry.runs import Run, TrackingStore

if TYPE_CHECKING:
    import optuna

PARENT_TAG = "mlflow.parentRunId"
STARTUP_TRIALS = 5
"""Trials that are never broken off: there is nothing to compare them with."""
WARMUP_EPOCHS = 2
FOREIGN_TABLES = frozenset({"predictions", "evaluations", "registered_models", "experiments"})
"""Tables of the platform and of MLflow."""


@dataclass(frozen=True)
class TrialResult:
    """One recipe that was tried."""

    number: int
    state: str
    """`complete`, `pruned`, or `fail` where the training broke down."""
    validation_loss: float | None
    choices: dict[str, float | int]


@dataclass(frozen=True)
class SearchResult:
    """What a search led to: the best recipe of all trials of its study, also those of earlier calls."""

    recipe: NetworkRecipe
    best_trial: TrialResult
    trials: tuple[TrialResult, ...]
    run_id: str


def search(
    pipeline: Pipeline,
    base: NetworkRecipe,
    train: Examples,
    validation: Examples,
    tracking: TrackingStore,
    *,
    storage: str,
    trials: int,
    seed: int,
    device: str = "cpu",
    on_trial: Callable[[TrialResult], None] = lambda _: None,
) -> SearchResult:
    """Try so many more recipes like `base`; the lowest validation loss wins.

    Raises SearchError without Optuna, for fewer than one trial, or where no trial has come to its end.
    """
    if trials < 1:
        raise SearchError(f"a search of {trials} trials finds nothing; give 1 or more")
    with (
        _open_study(f"{pipeline.name}/{base.name}", storage, seed) as study,
        tracking.start_run(pipeline.name, f"search: {base.name}") as parent,
    ):
        parent.log_params({**base.as_params(), "trials": trials, "seed": seed, "study": study.study_name})
        study.enqueue_trial(initial_parameters(base), skip_if_exists=True)
        for _ in range(trials):
            trial, recipe = _next_trial(study, base, seed)
            _run_trial(study, trial, recipe, pipeline, (train, validation), tracking, parent, seed, device)
            on_trial(_trial_result(study.trials[trial.number]))
        results = tuple(_trial_result(result) for result in study.trials)
        completed = [result for result in results if result.state == "complete"]
        if not completed:
            raise SearchError(
                f"none of {len(results)} trials of '{study.study_name}' came to its end; look at their runs"
            )
        best = min(completed, key=lambda result: (result.validation_loss, result.number))
        parent.log_metrics({"best_validation_loss": float(best.validation_loss or 0.0), "best_trial": best.number})
        parent.log_json("trials.json", [asdict(result) for result in results])
    return SearchResult(with_parameters(base, best.choices), best, results, parent.id)


def _next_trial(study: optuna.Study, base: NetworkRecipe, seed: int) -> tuple[optuna.Trial, NetworkRecipe]:
    """The next trial, which is no other worker's: its luck is drawn by its own number, which a study gives once.

    Workers that begin together may both ask for the base recipe; the later number gives way.
    """
    import optuna

    while True:
        trial = study.ask()
        study.sampler = _sampler(seed, trial.number)
        recipe = suggest_recipe(base, trial)
        earlier = (other for other in study.get_trials(deepcopy=False) if other.number < trial.number)
        if all(other.params != trial.params for other in earlier):
            return trial, recipe
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def _sampler(seed: int, number: int) -> optuna.samplers.TPESampler:
    import optuna

    return optuna.samplers.TPESampler(seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))


def initial_parameters(recipe: NetworkRecipe) -> dict[str, float | int]:
    """Where the search begins: the recipe as it is."""
    return {
        "learning_rate": recipe.learning_rate,
        "weight_decay": max(recipe.weight_decay, 1e-6),
        "dropout": recipe.dropout,
        "batch_size": recipe.batch_size,
        "label_smoothing": recipe.label_smoothing,
        "movement": 1.0,
    }


def suggest_recipe(base: NetworkRecipe, trial: optuna.Trial) -> NetworkRecipe:
    """The recipe of a trial: what Optuna proposes, around the base."""
    batches = sorted({32, 64, 128, 256, base.batch_size})
    return with_parameters(
        base,
        {
            "learning_rate": trial.suggest_float("learning_rate", *_range_around(base.learning_rate, 8), log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-6, max(1e-1, base.weight_decay), log=True),
            "dropout": trial.suggest_float("dropout", 0.0, max(0.6, base.dropout)),
            "batch_size": int(trial.suggest_categorical("batch_size", batches)),
            "label_smoothing": trial.suggest_float("label_smoothing", 0.0, max(0.15, base.label_smoothing)),
            "movement": trial.suggest_float("movement", 0.25, 1.75),
        },
    )


def with_parameters(base: NetworkRecipe, parameters: dict[str, float | int]) -> NetworkRecipe:
    """The base with these choices; `movement` scales how far images are moved."""
    return replace(
        base,
        name=f"{base.name}+search",
        learning_rate=float(parameters["learning_rate"]),
        weight_decay=float(parameters["weight_decay"]),
        dropout=float(parameters["dropout"]),
        batch_size=int(parameters["batch_size"]),
        label_smoothing=float(parameters["label_smoothing"]),
        augmentation=_scaled_augmentation(base.augmentation, float(parameters["movement"])),
    )


def _scaled_augmentation(amount: Augmentation, factor: float) -> Augmentation:
    most = {"stroke": 1.0, "zoom": 0.45, "stretch": 0.45}
    geometric = ("rotation", "shift", "zoom", "shear", "stretch", "elastic", "stroke")
    return replace(amount, **{name: min(factor * getattr(amount, name), most.get(name, 90.0)) for name in geometric})


def _range_around(value: float, factor: float) -> tuple[float, float]:
    return value / factor, value * factor


@contextmanager
def _open_study(name: str, storage: str, seed: int) -> Iterator[optuna.Study]:
    """The study of this name, a new one where there is none; its connections are closed at the end."""
    try:
        import optuna
    except ImportError as error:
        raise SearchError("Optuna is not installed; install the extra: pip install 'mlplatform[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _require_own_database(storage)
    database = optuna.storages.RDBStorage(storage)
    try:
        yield optuna.create_study(
            study_name=name,
            storage=database,
            direction="minimize",
            load_if_exists=True,
            sampler=_sampler(seed, 0),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_EPOCHS),
        )
    finally:
        database.remove_session()
        database.engine.dispose()


def _require_own_database(storage: str) -> None:
    """Raise SearchError for a database that holds other tables: Optuna's would mix with them, `trials` most of all."""
    tables = _tables_in(storage)
    if tables and ("studies" not in tables or tables & FOREIGN_TABLES):
        raise SearchError(
            f"{mask_uri(storage)} holds tables of something else, and a search needs a database of its own; "
            "give one such as sqlite:///search.db"
        )


def _tables_in(storage: str) -> set[str]:
    """The tables of a SQLite file or a PostgreSQL schema; none for a file that is not there yet."""
    path = sqlite_path(storage)
    if path is not None:
        if not path.is_file():
            return set()
        with closing(sqlite3.connect(path)) as file:
            return {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    dialect, _, rest = storage.partition("://")
    if not dialect.startswith("postgres"):
        return set()
    import psycopg

    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
    try:
        with psycopg.connect(f"postgresql://{rest}", connect_timeout=5) as server:
            return {name for (name,) in server.execute(query)}
    except psycopg.Error as error:
        raise SearchError(
            f"{mask_uri(storage)} cannot be opened ({str(error).splitlines()[0]}); see it runs"
        ) from error


def _run_trial(
    study: optuna.Study,
    trial: optuna.Trial,
    recipe: NetworkRecipe,
    pipeline: Pipeline,
    rows: tuple[Examples, Examples],
    tracking: TrackingStore,
    parent: Run,
    seed: int,
    device: str,
) -> None:
    """One trial in a run of its own, nested in the search's."""
    import optuna

    tags = {PARENT_TAG: parent.id, "mlplatform.trial": str(trial.number)}
    name = f"{recipe.name} {trial.number}"
    try:
        with tracking.start_run(pipeline.name, name, tags, stop_errors=(optuna.TrialPruned,)) as run:
            run.log_params({**recipe.as_params(), "seed": seed})

            def told(metrics: EpochMetrics) -> None:
                run.log_metrics(metrics.as_metrics(), step=metrics.epoch)
                trial.report(metrics.validation_loss, metrics.epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned

            network = network_for(pipeline.contract, recipe, seed)
            fitted = fit(network, recipe, *rows, seed=seed, on_epoch=told, device=device)
            study.tell(trial, fitted.history[fitted.best_epoch - 1].validation_loss)
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except TrainingError:  # losses that are no numbers: Optuna learns to stay away from there
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _trial_result(trial: Any) -> TrialResult:  # noqa: ANN401 - Optuna's frozen trial
    value = trial.value if trial.state.name == "COMPLETE" else None
    return TrialResult(trial.number, trial.state.name.lower(), value, dict(trial.params))
