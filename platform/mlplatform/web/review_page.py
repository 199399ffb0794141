"""The pages where people label inputs: the queues, and one input at a time with a key for each class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase, digits
from typing import Final
from urllib.parse import quote, urlencode

from mlplatform.context import AppContext
from mlplatform.feedback.review_queues import MAX_COUNTED, QueueKind, ReviewQueue
from mlplatform.feedback.review_session import (
    ReviewerProgress,
    Verdict,
    list_review_queues,
    load_desk,
)
from mlplatform.feedback.review_tasks import CLAIM_DURATION
from mlplatform.web.rendering import render_page
from monitors.rules.quantities import count_text

MEANINGS: Final[Mapping[QueueKind, str]] = {
    "draw": "Answers drawn by chance. Their labels say how good the model is, so label every one that you can.",
    "disagreements": "Answers of which another version says something else. Their labels train and estimate nothing.",
    "contradictions": "Inputs of which reviewers say different things. You are not shown what; say what you see.",
    "label-audit": "Answers and labels of one class that a rule asks about, the most doubtful first.",
    "label-review": "Labels that a retraining set aside because they look wrong, the most doubtful first.",
}
KEY_LETTERS: Final = digits[1:] + "0" + ascii_lowercase
SKIP_KEYS, UNSURE_KEYS, BACK_KEYS = ("arrowright", "s"), ("u", "?"), ("arrowleft", "z")
"""Keys of what is not a class; a letter is left out where it stands for a class."""
MAX_BUTTONS: Final = len(KEY_LETTERS)
"""More classes than keys are written into a field."""
KEY_NAMES: Final = {"arrowright": "→", "arrowleft": "←"}


@dataclass(frozen=True)
class Key:
    """What is pressed for a button, and how that is shown."""

    codes: str
    shown: str


@dataclass(frozen=True)
class ClassButton:
    """A class, the key that gives it, and whether it was given before."""

    label: str
    key: Key
    is_given: bool


def queues_page(context: AppContext, reviewer: str, form_token: str, *, asks_name: bool) -> str:
    """The page of all queues; with `asks_name`, who reviews is asked for, where no key says it."""
    queues, progress = list_review_queues(context, reviewer)
    return render_page(
        "review.html",
        path="/review",
        title="Review",
        section="Review",
        queues=[(queue, MEANINGS[queue.kind], waiting_text(queue)) for queue in queues],
        reviewer=reviewer,
        query=reviewer_query(reviewer if asks_name else ""),
        asks_name=asks_name,
        form_token=form_token,
        progress="" if progress is None else progress_text(progress),
    )


def desk_page(
    context: AppContext, queue_id: str, reviewer: str, form_token: str, back_to: str = "", *, asks_name: bool
) -> str:
    """The page of one input; raises NotFoundError."""
    desk = load_desk(context, queue_id, reviewer, back_to)
    path, given = f"/review/{queue_id}", "" if desk.given is None else desk.given.label
    classes = desk.rules.classes
    keys = assign_keys(classes)
    query = reviewer_query(reviewer if asks_name else "")
    return render_page(
        "review_item.html",
        path=path,
        title=desk.queue.kind_title,
        section="Review",
        script="review.js",
        queue=desk.queue,
        meaning=MEANINGS[desk.queue.kind],
        waiting=waiting_text(desk.queue),
        item=desk.item,
        said=said_text(desk.given),
        is_labelled=desk.given is not None and desk.given.kind == "label",
        buttons=[ClassButton(label, Key(key, key), label == given) for label, key in keys.items()],
        classes=classes,
        allowed="" if classes else desk.rules.hint,
        given=given,
        skip_key=_control_key(SKIP_KEYS, keys),
        unsure_key=_control_key(UNSURE_KEYS, keys),
        back_key=_control_key(BACK_KEYS, keys),
        back=_back_address(desk.queue.id, desk.earlier, query),
        reviewer=reviewer if asks_name else "",
        query=query,
        form_token=form_token,
        minutes=int(CLAIM_DURATION.total_seconds() // 60),
        progress=progress_text(desk.progress),
    )


def assign_keys(classes: Sequence[str]) -> dict[str, str]:
    """A key for each class: its own letter or digit, else the first letter, else one in order; none for too many."""
    if len(classes) > MAX_BUTTONS:
        return {}
    for letters in ([name.lower() for name in classes], [name[:1].lower() for name in classes]):
        if len(set(letters)) == len(letters) and all(len(each) == 1 and each in KEY_LETTERS for each in letters):
            return dict(zip(classes, letters, strict=True))
    return dict(zip(classes, KEY_LETTERS, strict=False))


def reviewer_query(reviewer: str) -> str:
    """What an address ends with where it must say who reviews."""
    return f"?{urlencode({'reviewer': reviewer})}" if reviewer else ""


def waiting_text(queue: ReviewQueue) -> str:
    """How many inputs of a queue wait."""
    if queue.total is not None:
        return f"{queue.waiting} of {queue.total} wait"
    return f"{MAX_COUNTED:,} or more wait" if queue.waiting >= MAX_COUNTED else f"{queue.waiting} wait"


def progress_text(progress: ReviewerProgress) -> str:
    """What a reviewer did in a day, and how often others say the same."""
    done = f"You labelled {count_text(progress.labelled, 'input')} in 24 hours."
    if not progress.compared:
        return f"{done} Nobody else labelled one of yours yet."
    share = f"{progress.agreeing / progress.compared:.0%}"
    return f"{done} Others say the same of {progress.agreeing} of {progress.compared} that they labelled too ({share})."


def said_text(given: Verdict | None) -> str:
    """What the reviewer said before of the input that they went back to."""
    if given is None:
        return ""
    return {"label": f"You said: {given.label}.", "skip": "You skipped this one.", "unsure": "You were not sure."}[
        given.kind
    ]


def _back_address(queue_id: str, earlier: str, query: str) -> str:
    """Where the input before is shown, relative to the queue's page; empty where there is none."""
    if not earlier:
        return ""
    return f"review/{quote(queue_id)}{query}{'&' if query else '?'}{urlencode({'item': earlier})}"


def _control_key(codes: tuple[str, ...], keys: Mapping[str, str]) -> Key:
    taken = set(keys.values())
    usable = [code for code in codes if code not in taken]
    return Key(" ".join(usable), " ".join(KEY_NAMES.get(code, code.upper()) for code in usable))
