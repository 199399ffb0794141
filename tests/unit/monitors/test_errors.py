from monitors.errors import AlertError, ConfigProblem, MetricsError, MonitorError, RulesError, WindowError


def test_every_error_of_the_room_is_a_monitor_error_and_a_builtin() -> None:
    assert issubclass(RulesError, MonitorError)
    assert issubclass(RulesError, ValueError)
    assert issubclass(WindowError, ValueError)
    assert issubclass(AlertError, ValueError)
    assert issubclass(MetricsError, RuntimeError)


def test_a_rules_error_carries_the_first_place_and_prints_all() -> None:
    error = RulesError([ConfigProblem("a.yaml", 3, "rules[0].name", "bad"), ConfigProblem("a.yaml", 9, "", "worse")])
    assert (error.file, error.line, error.key) == ("a.yaml", 3, "rules[0].name")
    assert str(error) == "a.yaml:3: rules[0].name: bad\na.yaml:9: worse"
