"""What a retraining may learn from: labels weighed by trust, the rest set aside with a reason; it trains nothing.

A label is suspicious only when the champion and a probe both contradict it. The probe learns from the feedback itself,
and a giver's rows are judged by what all others say, so that a changed world is learnt and a lie is not vouched for by
its own copies. Its rule is that of confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating
Uncertainty in Dataset Labels", 2021).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipelines.data import FeedbackRows, bucket
from pipelines.errors import DataError
from pipelines.neighbours import fingerprint, near_duplicates

Source = Literal["audit", "delayed", "correction"]
Reason = Literal["near-duplicate of a held image", "known image", "conflict", "repeated", "over quota", "suspicious"]
Answers = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Dealt = tuple[NDArray[np.float64], NDArray[np.int64]]
"""What a probe sees of each row, (n, d), and the row's fold, (n,)."""

TRUST: Mapping[Source, float] = {"audit": 1.0, "delayed": 0.9, "correction": 0.5}
FOLDS = 5
CLASS_ROWS = 5
"""A probe that learnt from fewer rows of a class has no say about it."""
PICTURE_SCALE, ANSWER_SCALE, LEAST = 8.0, 1 / 3, 1e-4
"""They give the probe's inputs, unit vectors and log-probabilities, comparable sizes."""


@dataclass(frozen=True)
class Origin:
    """Who gave a label, and how it came about."""

    source: Source
    reviewer: str = ""
    client: str = ""


@dataclass(frozen=True)
class Quotas:
    """The most that one giver, all corrections or one class may make of the rows; none binds below `rows`.

    Audits are free of the giver's quota: the platform draws them and the operator's own people label them.
    """

    giver: float = 0.2
    corrections: float = 0.5
    classes: float = 3.0
    """Times the median class."""
    rows: int = 50

    def __post_init__(self) -> None:
        for name in ("giver", "corrections"):
            if not 0 < getattr(self, name) <= 1:
                raise DataError(f"quota '{name}' is {getattr(self, name)}; give a share above 0, 1 for no limit")
        if self.classes < 1 or self.rows < 1:
            raise DataError(f"quotas are {self.classes} times the median and {self.rows} rows; give 1 or more of each")


@dataclass(frozen=True)
class SetAside:
    """One label that neither trains nor judges, for a person to look at."""

    feedback_id: str
    reason: Reason
    detail: str


@dataclass(frozen=True, eq=False)
class Curated:
    """The rows left, how much each counts (0 to 1, float32 of shape (n,)), and what was set aside."""

    rows: FeedbackRows
    weights: NDArray[np.float32]
    set_aside: tuple[SetAside, ...]


@dataclass(frozen=True, eq=False)
class Witnesses:
    """Who is asked about a label: the champion, and where each label came from. Unknown origins count as audits."""

    champion: Answers | None
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def origins_of(self, rows: FeedbackRows) -> list[Origin]:
        """The origin of each row; one that may not judge and is not known is a correction."""
        flags = rows.trains_only or (False,) * len(rows)
        usual = [Origin("correction" if flag else "audit") for flag in flags]
        return [self.origins.get(i, other) for i, other in zip(rows.feedback_ids, usual, strict=True)]


def settle(rows: FeedbackRows, witnesses: Witnesses) -> tuple[FeedbackRows, tuple[SetAside, ...]]:
    """One row per image, in the order of the images' identities, whatever the order given.

    Labels that contradict each other are set aside, all of them. A correction against an audit or a delayed label
    goes alone, so that nobody can take a trusted label out by denying it.
    """
    origins = witnesses.origins_of(rows)
    by_image: dict[str, list[int]] = defaultdict(list)
    for place in sorted(range(len(rows)), key=lambda i: (rows.ids[i], -TRUST[origins[i].source], rows.feedback_ids[i])):
        by_image[rows.ids[place]].append(place)
    kept: list[int] = []
    aside: list[SetAside] = []
    for places in by_image.values():
        trusted = [i for i in places if origins[i].source != "correction"] or places
        labels = {int(rows.labels[i]) for i in trusted}
        agreed = labels.pop() if len(labels) == 1 else None
        first = None if agreed is None else places[0]
        kept += [] if first is None else [first]
        for i in places:
            same = first is not None and rows.labels[i] == agreed
            if first is None or not same:
                others = sorted({rows.feedback_ids[j] for j in places if rows.labels[j] != rows.labels[i]})
                detail = f"class {rows.labels[i]} is contradicted by {', '.join(others)}"
                aside.append(SetAside(rows.feedback_ids[i], "conflict", detail))
            elif i != first:
                detail = f"the same image and label as {rows.feedback_ids[first]}"
                aside.append(SetAside(rows.feedback_ids[i], "repeated", detail))
    return rows.take(kept), tuple(aside)


def leave_known(rows: FeedbackRows, ids: Collection[str]) -> tuple[FeedbackRows, tuple[SetAside, ...]]:
    """The rows whose image is not among these identities: a gate must not ask what the base data teaches."""
    sieve, known = _Sieve(rows), frozenset(ids)
    copies = [place for place, i in enumerate(rows.ids) if i in known]
    sieve.drop(dict.fromkeys(copies, "the base data holds this image"), "known image")
    return sieve.rows, tuple(sieve.aside)


def curate(
    rows: FeedbackRows, witnesses: Witnesses, protected: NDArray[np.uint8], quotas: Quotas | None = None
) -> Curated:
    """The rows of `settle` that may train, weighed; `protected` images (m, h, w) and what looks like them never do."""
    limits = quotas or Quotas()
    sieve = _Sieve(rows)
    copies = np.flatnonzero(near_duplicates(rows.images, protected))
    sieve.drop(dict.fromkeys(copies.tolist(), "it shows the same picture"), "near-duplicate of a held image")
    _drop_surplus(sieve, witnesses, limits)
    doubts = _doubts(sieve.rows, sieve.rows, witnesses)
    sieve.drop(doubts, "suspicious")
    counts = Counter(sieve.rows.labels.tolist())
    cap = max(limits.rows, int(limits.classes * float(np.median(list(counts.values()) or [0]))))
    sieve.drop(_beyond(sieve.rows, [f"class {label}" for label in sieve.rows.labels], cap), "over quota")
    weights = np.array([TRUST[origin.source] for origin in witnesses.origins_of(sieve.rows)], dtype=np.float32)
    return Curated(sieve.rows, weights, tuple(sieve.aside))


def curate_judges(
    rows: FeedbackRows, witnesses: Witnesses, trained: FeedbackRows, quotas: Quotas | None = None
) -> Curated:
    """The rows of `settle` that may judge a candidate made from `trained`; each counts the same.

    Only rows that the champion fails are ever doubted, so doubt can take gains from a candidate and never losses.
    """
    sieve = _Sieve(rows)
    _drop_surplus(sieve, witnesses, quotas or Quotas())
    sieve.drop(_doubts(sieve.rows, trained, witnesses), "suspicious")
    return Curated(sieve.rows, np.ones(len(sieve.rows), dtype=np.float32), tuple(sieve.aside))


def lineage(
    trained: FeedbackRows | None,
    trust: NDArray[np.float32],
    judged: FeedbackRows | None,
    set_aside: Sequence[SetAside],
) -> dict[str, object]:
    """What became of every label, as JSON may hold it: `trained` with its weight, `judged`, `set_aside` and why."""
    ids = () if trained is None else trained.feedback_ids
    weights = [round(float(weight), 6) for weight in trust]
    return {
        "trained": [{"feedback_id": i, "weight": weight} for i, weight in zip(ids, weights, strict=True)],
        "judged": [] if judged is None else list(judged.feedback_ids),
        "set_aside": [asdict(each) for each in set_aside],
    }


def counts(set_aside: Sequence[SetAside]) -> dict[str, int]:
    """How many labels were set aside for each reason, by names for a tracking server."""
    found = Counter(each.reason for each in set_aside)
    return {f"set_aside_{reason.replace(' ', '_').replace('-', '_')}": found[reason] for reason in get_args(Reason)}


class _Sieve:
    """Rows with what fell through so far."""

    def __init__(self, rows: FeedbackRows) -> None:
        self.rows = rows
        self.aside: list[SetAside] = []

    def drop(self, details: Mapping[int, str], reason: Reason) -> None:
        """Set aside the rows at these places."""
        self.aside += [SetAside(self.rows.feedback_ids[i], reason, details[i]) for i in sorted(details)]
        self.rows = self.rows.take([i for i in range(len(self.rows)) if i not in details])


def _drop_surplus(sieve: _Sieve, witnesses: Witnesses, quotas: Quotas) -> None:
    """What corrections together, then each client, then each reviewer gave beyond their part."""

    def corrections(origin: Origin) -> str | None:
        return "corrections" if origin.source == "correction" else None

    def client(origin: Origin) -> str | None:
        return None if origin.source == "audit" else f"client '{origin.client}'" if origin.client else None

    def reviewer(origin: Origin) -> str | None:
        anonymous = not origin.client and not origin.reviewer
        named = f"reviewer '{origin.reviewer}'" if origin.reviewer else None
        return None if origin.source == "audit" else "givers without a name" if anonymous else named

    for group, share in ((corrections, quotas.corrections), (client, quotas.giver), (reviewer, quotas.giver)):
        groups = [group(origin) for origin in witnesses.origins_of(sieve.rows)]
        sieve.drop(_beyond(sieve.rows, groups, _cap(groups, share, quotas.rows)), "over quota")


def _cap(groups: Sequence[str | None], share: float, floor: int) -> int:
    """The most rows per group so that none is more than its share of what remains; rows without group are free."""
    sizes = Counter(group for group in groups if group is not None)
    free = len(groups) - sizes.total()
    cap = max(sizes.values(), default=0)
    while cap > floor:
        fair = max(floor, int(share * (free + sum(min(size, cap) for size in sizes.values()))))
        if fair >= cap:
            break
        cap = fair
    return max(cap, floor)


def _beyond(rows: FeedbackRows, groups: Sequence[str | None], cap: int) -> dict[int, str]:
    """The places beyond the cap of each group, drawn by the hash of the feedback id, with a sentence for each."""
    members: dict[str, list[int]] = defaultdict(list)
    for place in sorted(range(len(rows)), key=lambda i: bucket(rows.feedback_ids[i], "quota")):
        if (group := groups[place]) is not None:
            members[group].append(place)
    return {
        place: f"{group}: {len(places)} of {len(rows)} rows, {cap} are taken; raise the quota where this is right"
        for group, places in members.items()
        for place in places[cap:]
    }


def _doubts(rows: FeedbackRows, teachers: FeedbackRows, witnesses: Witnesses) -> dict[int, str]:
    """The places of labels that champion and probe both contradict, with a sentence for each.

    Where the probe hardly knows the label's own class, the two must name the same other class.
    """
    if witnesses.champion is None or not len(rows) or not len(teachers):
        return {}
    answers, taught_answers = witnesses.champion(rows.images), witnesses.champion(teachers.images)
    views, taught_views = _view(rows, answers), _view(teachers, taught_answers)
    folds, taught_folds = _folds(rows, teachers, witnesses), _folds(teachers, teachers, witnesses)
    classes = answers.shape[1]
    usual = _cross_fitted((taught_views, taught_folds), (taught_views, taught_folds), teachers.labels, classes)
    beliefs = _cross_fitted((views, folds), (taught_views, taught_folds), teachers.labels, classes)
    sure = _sure(usual, teachers.labels)
    places = np.arange(len(rows))
    rival = np.where(beliefs >= sure, beliefs, -1.0)
    rival[places, rows.labels] = -1.0
    other, own = rival.argmax(axis=1), beliefs[places, rows.labels]
    read = answers.argmax(axis=1)
    doubted = (rival.max(axis=1) > own) & (read != rows.labels) & ((own >= 0) | (other == read))
    return {
        int(i): f"labelled class {rows.labels[i]}; the champion reads {read[i]}, the probe {other[i]}"
        for i in np.flatnonzero(doubted)
    }


def _view(rows: FeedbackRows, answers: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the probe sees (n, d): the picture, and what the champion makes of it."""
    parts = [fingerprint(rows.images) * PICTURE_SCALE, np.log(answers + LEAST) * ANSWER_SCALE]
    return np.hstack(parts).astype(np.float64)


def _folds(rows: FeedbackRows, teachers: FeedbackRows, witnesses: Witnesses) -> NDArray[np.int64]:
    """Which fold of the teachers has no say about each row, -1 where all have one.

    Rows of one giver share a fold, so that they never vouch for each other. One who gave more than half of all would
    leave the probe nothing to learn from: those are dealt row by row.
    """
    givers = Counter(_giver(origin) for origin in witnesses.origins_of(teachers))
    frequent = {giver for giver, given in givers.items() if 2 * given > len(teachers)}

    def keys(asked: FeedbackRows) -> list[str]:
        named = [_giver(origin) for origin in witnesses.origins_of(asked)]
        pairs = zip(named, asked.feedback_ids, strict=True)
        return [f"giver {giver}" if giver and giver not in frequent else f"row {i}" for giver, i in pairs]

    sizes, loads, fold = Counter(keys(teachers)), [0] * FOLDS, dict[str, int]()
    for key in sorted(sizes, key=lambda key: (-sizes[key], bucket(key, "probe"))):
        fold[key] = loads.index(min(loads))
        loads[fold[key]] += sizes[key]
    return np.array([fold.get(key, -1) for key in keys(rows)], dtype=np.int64)


def _giver(origin: Origin) -> str:
    return origin.reviewer if origin.source == "audit" else origin.client or origin.reviewer


def _cross_fitted(asked: Dealt, taught: Dealt, labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Probabilities (n, classes) of the rows asked, each by a probe that did not learn from its fold."""
    views, folds = asked
    beliefs = np.full((len(views), classes), -1.0)
    for fold in np.unique(folds):
        inside, teaching = folds == fold, taught[1] != fold
        beliefs[inside] = _fitted(taught[0][teaching], labels[teaching], views[inside], classes)
    return beliefs


def _fitted(
    taught: NDArray[np.float64], labels: NDArray[np.int64], asked: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """A linear probe's probabilities (n, classes) for the rows asked; -1 for classes it hardly knows."""
    # scikit-learn takes a second to import, and a training without feedback does not need it.
    from sklearn.linear_model import LogisticRegression

    beliefs = np.full((len(asked), classes), -1.0)
    counts = np.bincount(labels, minlength=classes)
    enough = np.flatnonzero(counts >= CLASS_ROWS)
    if len(enough) > 1:
        chosen = np.isin(labels, enough)
        probe = LogisticRegression(tol=1e-3, max_iter=5_000).fit(taught[chosen], labels[chosen])
        beliefs[:, enough] = probe.predict_proba(asked)
    return beliefs


def _sure(beliefs: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean probability (classes,) that rows of each class have of being in it; above 1 where nobody can say."""
    own = beliefs[np.arange(len(labels)), labels]
    means = [own[(labels == label) & (own >= 0)] for label in range(beliefs.shape[1])]
    return np.array([part.mean() if len(part) else 2.0 for part in means])
