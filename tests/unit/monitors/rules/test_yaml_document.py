from monitors.rules.yaml_document import dotted_path, read_document


def faults(text: str, env: dict[str, str] | None = None) -> list[str]:
    return [str(problem) for problem in read_document(text, "f", env or {}).problems]


def test_values_keep_their_lines() -> None:
    document = read_document("a: 1\nb:\n  - x\n  - y: 2.5\n", "f", {})
    assert document.value == {"a": 1, "b": ["x", {"y": 2.5}]}
    assert document.line_of(("b", 1, "y")) == 4
    assert document.line_of(("b", 7, "z")) == 2  # the nearest that was written
    assert dotted_path(("b", 1, "y")) == "b[1].y"


def test_references_are_filled_from_the_environment_or_their_default() -> None:
    text = "a: ${A}\nb: ${B:-five}\nc: x-${A}-${EMPTY:-y}\nd: $${A} costs $5\ne: ${B:-}\n"
    document = read_document(text, "f", {"A": "one", "EMPTY": ""})
    assert document.value == {"a": "one", "b": "five", "c": "x-one-y", "d": "${A} costs $5", "e": ""}
    assert document.from_environment[("a",)] == "A"
    assert not document.problems


def test_keys_are_never_expanded() -> None:
    assert read_document('"${A}": 1', "f", {"A": "x"}).value == {"${A}": 1}


def test_a_missing_variable_names_line_key_and_variable() -> None:
    assert faults("x: 1\nsecret: ${NOPE}\n") == [
        "f:2: secret: environment variable NOPE is not set; set it, or write ${NOPE:-default}"
    ]


def test_an_unfinished_reference_is_a_fault_not_a_literal() -> None:
    assert "f:1: a: '${' opens a reference that never ends" in faults('a: "x${A"')[0]


def test_a_key_written_twice_names_both_lines() -> None:
    assert faults("a: 1\nb: 2\na: 3\n") == ["f:3: a: written twice (first on line 1); keep one"]


def test_a_tag_is_never_run() -> None:
    assert "cannot be read" in faults("a: !!python/object/apply:os.getcwd []")[0]
    assert "cannot be read" in faults("a: !!python/object:os.PathLike {b: 1}")[0]
    assert "cannot be read" in faults("a: !!python/name:os.getcwd x")[0]


def test_aliases_are_refused_so_that_a_short_text_cannot_grow() -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"
    assert all("aliases" in fault for fault in faults(bomb))
    assert "aliases" in faults("a: &a [*a]")[0]


def test_broken_yaml_names_its_line_and_repeats_no_value() -> None:
    [fault] = faults("a: 1\nsecret: 'hunter2\n")
    assert fault.startswith("f:")
    assert "not valid YAML" in fault
    assert "hunter2" not in fault


def test_forbidden_characters_deep_nesting_and_two_documents_are_faults() -> None:
    assert "f:2: not valid YAML: a character" in faults("a: 1\nb: \x01")[0]
    assert "nested too deeply" in faults("[" * 500)[0]
    assert "not valid YAML" in faults("a: 1\n---\nb: 2\n")[0]


def test_a_date_that_does_not_exist_is_a_fault() -> None:
    assert faults("a: 2026-99-99") == ["f:1: a: this value or tag cannot be read; write plain text or a number"]


def test_an_empty_text_holds_nothing() -> None:
    assert read_document("", "f", {}).value is None
