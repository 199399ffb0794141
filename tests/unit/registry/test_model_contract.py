"""A model's contract as data: what is written comes back, and what cannot be meant is refused with a remedy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import ContractError
from registry.model_contract import (
    Column,
    ColumnKind,
    ImageInputs,
    ModelContract,
    TableInputs,
    TextInputs,
    classification_task,
    image_classifier,
)
from registry.model_package import METADATA_FILE, model_digest, read_contract
from registry.prediction_task import MAX_SEQUENCE_BYTES, Classification, Sequence, SequenceMeasure

DIGITS = image_classifier(tuple("0123456789"), 28, 28)
CHURN = ModelContract(
    TableInputs((Column("age", "whole", low=0, high=120), Column("plan", "category", known=("gold", "basic")))),
    Classification(("no", "yes"), {("yes", "no"): 5.0, ("no", "yes"): 1.0}),
    truth="event",
    block_seconds=86_400,
)
AMOUNTS = ModelContract(ImageInputs(64, 256), Sequence("0123456789", 9))
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(lambda text: bool(text.strip()))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    kind: ColumnKind = draw(st.sampled_from(get_args(ColumnKind)))
    low, high = sorted(draw(st.tuples(NUMBERS, NUMBERS))) if kind in ("number", "whole") else (None, None)
    known = draw(st.lists(NAMES, unique=True, max_size=4)) if kind == "category" else []
    return Column(name, kind, draw(st.booleans()), low, high, tuple(known), draw(st.booleans()))


@st.composite
def contracts(draw: st.DrawFn) -> ModelContract:
    tables = st.lists(NAMES, unique=True, min_size=1, max_size=4).flatmap(
        lambda names: st.tuples(*(columns(name) for name in names)).map(TableInputs)
    )
    images = st.builds(ImageInputs, st.integers(1, 999), st.integers(1, 999), st.sampled_from([1, 3]))
    return ModelContract(
        draw(st.one_of(tables, images, st.builds(TextInputs, st.integers(1, 10**6)))),
        draw(classifications() | sequences()),
        draw(st.sampled_from(["input", "event"])),
        draw(st.none() | st.integers(1, 30 * 86_400)),
    )


@st.composite
def classifications(draw: st.DrawFn) -> Classification:
    classes = draw(st.lists(NAMES, unique=True, min_size=2, max_size=5))
    pairs = st.tuples(st.sampled_from(classes), st.sampled_from(classes)).filter(lambda pair: pair[0] != pair[1])
    costs = draw(st.dictionaries(pairs, st.floats(0, 1e9), max_size=3))
    return Classification(tuple(classes), costs, draw(st.booleans()))


def sequences() -> st.SearchStrategy[Sequence]:
    characters = st.lists(st.characters(codec="utf-8").filter(str.isprintable), unique=True, min_size=1, max_size=9)
    return characters.map("".join).flatmap(_sequences_of)


def _sequences_of(alphabet: str) -> st.SearchStrategy[Sequence]:
    widest = max(len(character.encode()) for character in alphabet)
    longest = st.integers(1, min(1_000, MAX_SEQUENCE_BYTES // widest))
    return st.builds(Sequence, st.just(alphabet), longest, st.sampled_from(get_args(SequenceMeasure)))


@given(contracts())
def test_what_is_written_is_read_back_and_written_alike(contract: ModelContract) -> None:
    read = ModelContract.from_json(contract.to_json())
    assert read == contract
    assert read.to_json() == contract.to_json()
    assert read.digest == contract.digest
    assert ModelContract.from_dict(yaml.safe_load(yaml.safe_dump(contract.to_dict()))) == contract


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda some: st.lists(some) | st.dictionaries(
    st.sampled_from(["form", "inputs", "task", "truth", "kind", "names"]), some)))  # fmt: skip
def test_whatever_else_is_written_there_is_a_clear_error(document: object) -> None:
    with pytest.raises(ContractError):
        ModelContract.from_dict(document)


def test_equal_contracts_are_one_text_however_they_were_made() -> None:
    other = Classification(["no", "yes"], {("no", "yes"): 1, ("yes", "no"): 5})  # type: ignore[arg-type]
    assert ModelContract(CHURN.inputs, other, "event", 86_400).to_json() == CHURN.to_json()


def test_the_digest_of_a_contract_never_changes() -> None:
    assert DIGITS.to_json() == (
        '{"block_seconds":null,"form":1,"inputs":{"channels":1,"height":28,"kind":"images","width":28},"task":{"costs":'
        '[],"kind":"classification","names":["0","1","2","3","4","5","6","7","8","9"],"probabilities":true},'
        '"truth":"input"}'
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda doc: doc.update(form=2), r"form: 2 is not known here; upgrade"),
        (lambda doc: doc.update(colour="red"), r"unknown field 'colour'; known: form, inputs"),
        (lambda doc: doc.pop("truth"), r"no truth; a contract names every field"),
        (lambda doc: doc.update(truth="both"), r"truth: 'both' is not known; known: input, event"),
        (lambda doc: doc.update(block_seconds=0), r"block_seconds: 0; give a whole number from 1"),
        (
            lambda doc: doc["task"].update(kind="regression"),
            r"'regression' .* known: classification, sequence",
        ),
        (lambda doc: doc["task"].update(names=["a"]), r"task.names: 1 of them; give 2 to"),
        (lambda doc: doc["task"].update(names=["a", "a"]), r"task.names: 'a' is there twice; keep one"),
        (lambda doc: doc["task"].update(names=["a", "\ud800"]), r"half a character"),
        (lambda doc: doc["task"].update(costs=[["yes", "maybe", 1.0]]), r"task.costs: 'maybe' is no class; known: no"),
        (lambda doc: doc["task"].update(costs=[["no", "no", 1.0]]), r"costs nothing; leave it out"),
        (lambda doc: doc["task"].update(costs=[["yes", "no", -1.0]]), r"-1.0 is below 0"),
        (lambda doc: doc["task"].update(costs=[["yes", "no", 1.0]] * 2), r"is there twice; keep one"),
        (lambda doc: doc["inputs"].update(kind="sound"), r"inputs.kind: 'sound' .* known: table, images, texts"),
        (lambda doc: doc["inputs"].update(columns=[]), r"inputs.columns: 0 of them"),
        (lambda doc: doc["inputs"]["columns"][0].update(low=200), r"low 200.0 is above high 120.0; swap them"),
        (lambda doc: doc["inputs"]["columns"][0].update(kind="blob"), r"kind: 'blob' is not known; known: number"),
        (lambda doc: doc["inputs"]["columns"][0].update(low=True), r"low: True is no number"),
        (lambda doc: doc["inputs"]["columns"][0].update(known=["x"]), r"known categories mean nothing for whole"),
        (lambda doc: doc["inputs"]["columns"][1].update(low=1), r"low 1 means nothing for category"),
        (lambda doc: doc["inputs"]["columns"][1].update(name="age"), r"'age' is there twice"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_field_value_and_remedy(
    change: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    document = json.loads(CHURN.to_json())
    change(document)
    with pytest.raises(ContractError, match=complaint):
        ModelContract.from_dict(document)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"alphabet": ""}, r"task.alphabet: ''; give 1 to"),
        ({"alphabet": ["0", "1"]}, r"task.alphabet: \['0', '1'\]; give 1 to .* as a text"),
        ({"alphabet": "00"}, r"'0' is there twice; keep one"),
        ({"alphabet": "0\n"}, r"cannot be printed; leave it out"),
        ({"alphabet": "\ud800"}, r"cannot be printed; leave it out"),
        ({"longest": 0}, r"task.longest: 0; give a whole number from 1 to 1000"),
        ({"longest": 1_001}, r"task.longest: 1001; give"),
        ({"measure": "half"}, r"task.measure: 'half' is not known; known: exact, edits"),
        ({"names": []}, r"unknown field 'names'; known: kind, alphabet, longest, measure"),
    ],
)
def test_a_sequence_that_cannot_be_meant_is_refused(change: dict[str, object], complaint: str) -> None:
    document = json.loads(AMOUNTS.to_json())
    document["task"].update(change)
    with pytest.raises(ContractError, match=complaint):
        ModelContract.from_dict(document)


def test_the_canonical_form_of_a_sequence_never_changes() -> None:
    assert AMOUNTS.to_dict()["task"] == {
        "kind": "sequence",
        "alphabet": "0123456789",
        "longest": 9,
        "measure": "exact",
    }


def test_a_sequence_is_wrong_as_a_whole_or_by_its_edits() -> None:
    exact, edits = Sequence("0123456789", 9), Sequence("0123456789", 9, "edits")
    assert [exact.loss("1000", answer) for answer in ("1000", "100", "")] == [0.0, 1.0, 1.0]
    assert [edits.loss("1000", answer) for answer in ("1000", "100", "", "7000")] == [0.0, 0.25, 1.0, 0.25]
    assert edits.loss("", "12") == 1.0
    assert edits.loss("1" * 2_000, "1" * 1_999) == 1.0


@given(st.text(max_size=12), st.text(max_size=12))
def test_the_loss_of_a_sequence_lies_between_0_and_1_and_is_0_for_the_truth_alone(truth: str, answer: str) -> None:
    for task in (Sequence("01", 5), Sequence("01", 5, "edits")):
        assert 0 <= task.loss(truth, answer) <= 1
        assert (task.loss(truth, answer) == 0) == (truth == answer)


def test_a_contract_of_sequences_has_no_classes() -> None:
    assert classification_task(CHURN) is CHURN.task
    with pytest.raises(ContractError, match="has no classes; give a contract of classification"):
        _ = AMOUNTS.classes


def test_text_that_is_no_json_is_named() -> None:
    with pytest.raises(ContractError, match=r"is not JSON .*; register it again"):
        ModelContract.from_json("{")


def test_a_version_made_before_contracts_says_the_same_in_other_words(tmp_path: Path) -> None:
    tensors = '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 1, 28, 28]}}]'
    old = {"metadata": {"classes": list("0123456789")}, "signature": {"inputs": tensors}}
    (tmp_path / METADATA_FILE).write_text(yaml.safe_dump(old))
    assert read_contract(tmp_path) == DIGITS
    assert model_digest(tmp_path, METADATA_FILE) is None


@pytest.mark.parametrize("text", ["", "- 1", "metadata: 3", "metadata: {classes: [a, b]}\nsignature: {inputs: '[]'}"])
def test_a_version_that_says_nothing_is_to_be_registered_again(tmp_path: Path, text: str) -> None:
    (tmp_path / METADATA_FILE).write_text(text)
    with pytest.raises(ContractError, match="register it again"):
        read_contract(tmp_path)


@pytest.mark.parametrize("content", [b": :\n\t", b"\xff\xfe\x00"])
def test_a_damaged_file_is_to_be_downloaded_again(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ContractError, match="download it again"):
        read_contract(tmp_path)
    (tmp_path / METADATA_FILE).write_bytes(content)
    with pytest.raises(ContractError, match="download it again"):
        read_contract(tmp_path)
