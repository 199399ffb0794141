"""The model card."""

from dataclasses import replace

import pytest
import yaml

from registry.card import (
    CardSection,
    ClassResult,
    DataUse,
    FeedbackUse,
    ModelCard,
    card_diff,
    render_card,
    with_production,
    without_header,
)
from registry.errors import CardError
from registry.gate.verdict import first_version_verdict

SECTIONS = (
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Training data",
    "Evaluation data",
    "Quantitative analyses",
    "Calibration",
    "Fairness",
    "Robustness",
    "Latency and size",
    "Gate verdict",
    "Ethical considerations",
    "Caveats and recommendations",
    "Contact",
    "Licence",
)


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        name="digits",
        summary="Reads single handwritten digits.",
        license="apache-2.0",
        task="image-classification",
        tags=("digits", "image-classification"),
        details={"Version": "1", "NetworkRecipe": "compact | small"},
        intended_use="Single digits from a scanner.",
        factors="Scanner, paper, writer.",
        metrics={"golden_accuracy": 0.97468, "golden_f1_macro": 0.9741},
        metrics_note="Measured on the golden set.",
        training_data=(DataUse("train", "optdigits-train", "a" * 64, 593),),
        feedback=FeedbackUse.of(["f2", "f1"]),
        evaluation_data=(DataUse("golden", "optdigits-golden", "b" * 64, 395),),
        classes=(ClassResult("0", 40, 39, 0.95, 0.96), ClassResult("1", 0, 0, 0.0, 0.0)),
        verdict=first_version_verdict(385, 395),
        ethics="No personal data.",
        caveats="One digit per image.",
        intervals={"golden_accuracy": (0.954, 0.987)},
        calibration=CardSection("Temperature 1.1.", ("Confidence", "Answers"), (("0.9 to 1.0", "380"),)),
        fairness=CardSection("No group is proved different.", ("Group", "Accuracy"), (("staff", "0.98"),)),
        robustness=CardSection("Under harm.", ("Harm", "Accuracy"), (("noise", "0.9"),)),
        latency=CardSection("On one thread.", ("Measure", "Value"), (("p50", "0.6 ms"),)),
        contact="The team of the post room.",
    )


def test_the_card_has_every_section_in_order(card: ModelCard) -> None:
    titles = [line[3:] for line in render_card(card).splitlines() if line.startswith("## ")]
    assert tuple(titles) == SECTIONS


def test_the_header_is_what_hugging_face_reads(card: ModelCard) -> None:
    _, header, _ = render_card(card).split("---\n", 2)
    read = yaml.safe_load(header)
    assert read["license"] == "apache-2.0"
    assert read["tags"] == ["digits", "image-classification"]
    (result,) = read["model-index"][0]["results"]
    assert result["dataset"]["name"] == "optdigits-golden"
    assert result["metrics"][0] == {"type": "golden_accuracy", "value": 0.97468}


def test_each_class_has_its_exact_interval_and_an_empty_one_says_so(card: ModelCard) -> None:
    text = render_card(card)
    assert "| 0 | 40 | 0.975 | 0.868 to 0.999 | 0.950 | 0.960 |" in text
    assert "| 1 | 0 | no rows | 0.000 to 1.000 |" in text


def test_the_lineage_names_rows_digests_and_feedback(card: ModelCard) -> None:
    text = render_card(card)
    assert "| train | optdigits-train | 593 | `aaaaaaaaaaaaaaaa` |" in text
    assert "Labelled feedback used: 2 answers" in text
    assert "No labelled feedback was used" in render_card(replace(card, feedback=FeedbackUse.of([])))


def test_the_verdict_is_on_the_card(card: ModelCard) -> None:
    text = render_card(card)
    assert "**promote**" in text
    assert "| first | passed | Golden accuracy is 97.5 % on 395 rows" in text


def test_a_bar_in_a_value_does_not_break_the_table(card: ModelCard) -> None:
    assert "| NetworkRecipe | compact \\| small |" in render_card(card)


def test_empty_sections_are_refused_all_at_once(card: ModelCard) -> None:
    with pytest.raises(CardError, match="nothing under: Intended use, Training data, Caveats and rec"):
        render_card(replace(card, intended_use=" ", training_data=(), caveats=""))


NOTHING = CardSection("", ("Group",), ())


@pytest.mark.parametrize(
    ("gap", "title"),
    [
        ({"intended_use": ""}, "Intended use"),
        ({"factors": "\n"}, "Factors"),
        ({"details": {}}, "Model details"),
        ({"metrics": {}}, "Metrics"),
        ({"metrics_note": ""}, "Metrics"),
        ({"training_data": ()}, "Training data"),
        ({"evaluation_data": ()}, "Evaluation data"),
        ({"classes": ()}, "Quantitative analyses"),
        ({"calibration": NOTHING}, "Calibration"),
        ({"fairness": NOTHING}, "Fairness"),
        ({"robustness": replace(NOTHING, note="a note without its table")}, "Robustness"),
        ({"latency": NOTHING}, "Latency and size"),
        ({"ethics": ""}, "Ethical considerations"),
        ({"caveats": ""}, "Caveats and recommendations"),
        ({"contact": " "}, "Contact"),
        ({"license": ""}, "Licence"),
        ({"summary": ""}, "Summary"),
    ],
)
def test_no_section_may_be_empty(card: ModelCard, gap: dict[str, object], title: str) -> None:
    with pytest.raises(CardError, match=f"nothing under: {title}. Fill"):
        render_card(replace(card, **gap))  # type: ignore[arg-type]


def test_a_metric_is_shown_with_its_interval_where_it_has_one(card: ModelCard) -> None:
    text = render_card(card)
    assert "| golden_accuracy | 0.9747 | 0.9540 to 0.9870 |" in text
    assert "| golden_f1_macro | 0.9741 | none |" in text


def test_two_cards_differ_in_what_changed_only(card: ModelCard) -> None:
    before = render_card(card)
    assert card_diff(before, before, ("version 3", "version 4")) == ""
    after = render_card(replace(card, factors="Scanner, paper, writer, light."))
    changed = card_diff(before, after, ("version 3", "version 4")).splitlines()
    assert changed[:2] == ["--- version 3", "+++ version 4"]
    assert [line for line in changed[2:] if not line.startswith("@@")] == [
        "-Scanner, paper, writer.",
        "+Scanner, paper, writer, light.",
    ]


def test_production_has_a_section_of_its_own_and_the_rest_stays(card: ModelCard) -> None:
    text = render_card(card)
    shown = with_production(text, CardSection("Since March.", ("Source", "Right"), (("audit", "98 of 100"),)))
    titles = [line[3:] for line in shown.splitlines() if line.startswith("## ")]
    assert titles.index("In production") == titles.index("Ethical considerations") - 1
    assert "| audit | 98 of 100 |" in shown
    assert [line for line in text.splitlines() if line not in shown.splitlines()] == []
    old = with_production("an old card", CardSection("Since March."))
    assert old == "an old card\n\n## In production\n\nSince March.\n"


def test_feedback_is_one_set_whatever_the_order_and_repeats() -> None:
    assert FeedbackUse.of(["b", "a", "b"]) == FeedbackUse.of(["a", "b"])
    assert FeedbackUse.of(["a"]).digest != FeedbackUse.of(["b"]).digest


def test_without_its_header_a_card_starts_with_its_title_and_keeps_its_tables() -> None:
    text = "---\nlicense: x\n---\n\n# digits\n\n| a | b |\n|---|---|\n"
    assert without_header(text) == "# digits\n\n| a | b |\n|---|---|\n"
    assert without_header("# digits\n\n---\n\nmore") == "# digits\n\n---\n\nmore"


def table(contrast: str, rotation: str = "0.900 | 0.850 to 0.940", error: str = "0.0100 | 0.0050 to 0.0200") -> str:
    return (
        "# digits\n\n## Metrics\n\n| Metric | Value | 95 % interval |\n| --- | --- | --- |\n"
        f"| golden_calibration_error | {error} |\n\n"
        "## Robustness\n\nUnder harm.\n\n"
        "| Harm | Level | Rows | Accuracy | 95 % interval |\n| --- | --- | --- | --- | --- |\n"
        f"| rotation | 3 | 200 | {rotation} |\n| contrast | 3 | 200 | {contrast} |\n"
    )


def test_what_got_worse_beyond_its_uncertainty_stands_first() -> None:
    before = table("0.675 | 0.608 to 0.736")
    after = table("0.250 | 0.195 to 0.314", "0.880 | 0.828 to 0.918", "0.0800 | 0.0600 to 0.1000")
    lines = card_diff(before, after, ("version 3", "version 4")).splitlines()
    assert lines[:4] == [
        "Worse, beyond its uncertainty:",
        "  Robustness, contrast level 3 (accuracy): 0.675 (0.608 to 0.736) before, 0.25 (0.195 to 0.314) now",
        "  Metrics, golden_calibration_error (value): 0.01 (0.005 to 0.02) before, 0.08 (0.06 to 0.1) now",
        "Within its uncertainty: 1 more number.",
    ]
    assert lines[4:6] == ["--- version 3", "+++ version 4"]


def test_what_got_better_is_told_as_better_also_where_low_is_good() -> None:
    before, after = table("0.250 | 0.195 to 0.314", error="0.0800 | 0.0600 to 0.1000"), table("0.675 | 0.608 to 0.736")
    lines = card_diff(before, after, ("a", "b")).splitlines()
    assert lines[0] == "Better, beyond its uncertainty:"
    assert lines[1].startswith("  Robustness, contrast level 3")
    assert lines[2].startswith("  Metrics, golden_calibration_error")


def test_a_rendered_card_is_read_with_its_numbers(card: ModelCard) -> None:
    header = ("Harm", "Level", "Rows", "Accuracy", "95 % interval")
    robust = CardSection("Under harm.", header, (("a | b", "3", "9", "0.9", "0.8 to 1"),))
    before = render_card(replace(card, robustness=robust))
    worse = replace(robust, rows=(("a | b", "3", "9", "0.1", "0 to 0.2"),))
    lines = card_diff(before, render_card(replace(card, robustness=worse)), ("a", "b")).splitlines()
    assert lines[1].startswith("  Robustness, a \\| b level 3 (accuracy): 0.9 (0.8 to 1) before, 0.1 (0 to 0.2) now")
