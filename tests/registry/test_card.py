"""The model card."""

from dataclasses import replace

import pytest
import yaml

from registry.card import Card, ClassLine, DataUse, FeedbackUse, render, without_header
from registry.errors import CardError
from registry.gate import decide_first

SECTIONS = (
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Training data",
    "Evaluation data",
    "Quantitative analyses",
    "Gate verdict",
    "Ethical considerations",
    "Caveats and recommendations",
)


@pytest.fixture
def card() -> Card:
    return Card(
        name="digits",
        summary="Reads single handwritten digits.",
        license="apache-2.0",
        tags=("digits", "image-classification"),
        details={"Version": "1", "Recipe": "compact | small"},
        intended_use="Single digits from a scanner.",
        factors="Scanner, paper, writer.",
        metrics={"golden_accuracy": 0.97468, "golden_f1_macro": 0.9741},
        metrics_note="Measured on the golden set.",
        training_data=(DataUse("train", "optdigits-train", "a" * 64, 593),),
        feedback=FeedbackUse.of(["f2", "f1"]),
        evaluation_data=(DataUse("golden", "optdigits-golden", "b" * 64, 395),),
        classes=(ClassLine("0", 40, 39, 0.95, 0.96), ClassLine("1", 0, 0, 0.0, 0.0)),
        verdict=decide_first(385, 395),
        ethics="No personal data.",
        caveats="One digit per image.",
    )


def test_the_card_has_every_section_in_order(card: Card) -> None:
    titles = [line[3:] for line in render(card).splitlines() if line.startswith("## ")]
    assert tuple(titles) == SECTIONS


def test_the_header_is_what_hugging_face_reads(card: Card) -> None:
    _, header, _ = render(card).split("---\n", 2)
    read = yaml.safe_load(header)
    assert read["license"] == "apache-2.0"
    assert read["tags"] == ["digits", "image-classification"]
    (result,) = read["model-index"][0]["results"]
    assert result["dataset"]["name"] == "optdigits-golden"
    assert result["metrics"][0] == {"type": "golden_accuracy", "value": 0.97468}


def test_each_class_has_its_exact_interval_and_an_empty_one_says_so(card: Card) -> None:
    text = render(card)
    assert "| 0 | 40 | 0.975 | 0.868 to 0.999 | 0.950 | 0.960 |" in text
    assert "| 1 | 0 | no rows | 0.000 to 1.000 |" in text


def test_the_lineage_names_rows_digests_and_feedback(card: Card) -> None:
    text = render(card)
    assert "| train | optdigits-train | 593 | `aaaaaaaaaaaaaaaa` |" in text
    assert "Labelled feedback used: 2 answers" in text
    assert "No labelled feedback was used" in render(replace(card, feedback=FeedbackUse.of([])))


def test_the_verdict_is_on_the_card(card: Card) -> None:
    text = render(card)
    assert "**promote**" in text
    assert "| first | passed | Golden accuracy is 97.5 % on 395 rows" in text


def test_a_bar_in_a_value_does_not_break_the_table(card: Card) -> None:
    assert "| Recipe | compact \\| small |" in render(card)


def test_empty_sections_are_refused_all_at_once(card: Card) -> None:
    with pytest.raises(CardError, match="nothing under: Intended use, Training data, Caveats and rec"):
        render(replace(card, intended_use=" ", training_data=(), caveats=""))


def test_feedback_is_one_set_whatever_the_order_and_repeats() -> None:
    assert FeedbackUse.of(["b", "a", "b"]) == FeedbackUse.of(["a", "b"])
    assert FeedbackUse.of(["a"]).digest != FeedbackUse.of(["b"]).digest


def test_without_its_header_a_card_starts_with_its_title_and_keeps_its_tables() -> None:
    text = "---\nlicense: x\n---\n\n# digits\n\n| a | b |\n|---|---|\n"
    assert without_header(text) == "# digits\n\n| a | b |\n|---|---|\n"
    assert without_header("# digits\n\n---\n\nmore") == "# digits\n\n---\n\nmore"
