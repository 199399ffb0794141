"""`platform models`, on a real registry."""

from datetime import timedelta

from mlplatform.context import AppContext
from mlplatform.ids import uuid7
from mlplatform.promotion import approvals
from mlplatform.promotion.approvals import Approval
from tests.support.command_line import Command


def test_versions_and_history_are_listed(platform: Command, registry: AppContext) -> None:
    shown = platform("models", "list", "--json").json
    assert (shown["model"], shown["champion"]) == ("digits", 1)
    assert [(row["version"], row["tags"]["gate"], row["has_card"]) for row in shown["versions"]] == [
        (2, "keep", True),
        (1, "promote", True),
    ]
    assert shown["versions"][1]["aliases"] == ["champion"]
    assert [row["kind"] for row in shown["promotions"]] == ["first"]
    out = platform("models", "list").out
    assert "keep" in out
    assert "because" in out


def test_a_card_is_shown_whole(platform: Command, registry: AppContext) -> None:
    assert platform("models", "card", "1").out == "# digits, the whole card\n\n"
    said = platform("models", "card", "2", "--json")
    assert (said.json["version"], said.json["card"]) == (2, "# digits, the whole card\n")


def test_two_cards_are_compared(platform: Command, registry: AppContext) -> None:
    said = platform("models", "card", "--diff", "1", "2", "--json")
    assert said.json == {"from": 1, "to": 2, "diff": "the cards of versions 1 and 2 say the same"}


def test_an_unknown_version_is_exit_code_4(platform: Command, registry: AppContext) -> None:
    said = platform("models", "card", "9")
    assert said.code == 4
    assert "registered: 2, 1" in said.err
    assert platform("models", "promote", "9").code == 4


def test_the_gates_verdict_needs_force_and_a_rollback_undoes_it(platform: Command, registry: AppContext) -> None:
    refused = platform("models", "promote", "2")
    assert refused.code == 5
    assert "--force" in refused.err
    forced = platform("models", "promote", "2", "--force", "--by", "ada", "--reason", "I know better", "--json")
    assert (forced.json["to_version"], forced.json["actor"], forced.json["reason"]) == (2, "ada", "I know better")
    assert registry.catalog.alias("digits", "champion") == 2
    back = platform("models", "rollback")
    assert (back.code, back.out) == (0, "version 1 is champion again, after 2\n")
    assert registry.catalog.alias("digits", "champion") == 1


def test_what_waits_is_listed_and_approved_or_rejected_by_name(platform: Command, registry: AppContext) -> None:
    now = registry.clock()

    def wait() -> None:
        approval = Approval(
            uuid7(), "digits", 2, 1, "waiting", "drift", "cli", now, now + timedelta(days=7), None, None
        )
        with registry.database.write() as connection:
            approvals.request(connection, approval)

    assert platform("models", "approve", "2").code == 4
    wait()
    assert "version 2 waits for approval until 2026" in platform("models", "list").out
    assert platform("models", "reject", "2", "--comment", "").code == 3
    rejected = platform("models", "reject", "2", "--comment", "not yet", "--by", "ada", "--json").json
    assert (rejected["state"], rejected["decided_by"], rejected["comment"]) == ("rejected", "ada", "not yet")
    wait()
    assert platform("models", "approve", "2", "--by", "bob").out == "version 2 is champion now, after 1\n"
    assert registry.catalog.alias("digits", "champion") == 2
    states = [each["state"] for each in platform("models", "list", "--json").json["approvals"]]
    assert states == ["approved", "rejected"]
    assert "waits for approval" not in platform("models", "list").out


def test_a_version_in_quarantine_is_shown_and_promoted_by_force_or_after_lifting_only(
    platform: Command, registry: AppContext
) -> None:
    registry.catalog.set_tag("digits", 2, "gate", "promote")
    said = platform("models", "quarantine", "2", "--reason", "it misreads sevens", "--by", "ada")
    assert (said.code, said.out) == (0, "version 2 is in quarantine\n")
    assert registry.catalog.version("digits", 2).tags["mlplatform.quarantined"] == "it misreads sevens"
    assert "it misreads sevens" in platform("models", "list").out
    refused = platform("models", "promote", "2")
    assert refused.code == 5
    assert "it misreads sevens" in refused.err
    assert platform("models", "quarantine", "2", "--json").json["changed"] is False
    assert platform("models", "quarantine", "2", "--lift").out == "version 2 is no longer in quarantine\n"
    assert "mlplatform.quarantined" not in registry.catalog.version("digits", 2).tags
    assert platform("models", "promote", "2").code == 0
    assert platform("models", "rollback").code == 0
    assert platform("models", "promote", "2").code == 5
    assert platform("models", "promote", "2", "--force").code == 0
    assert [row["quarantine"] for row in platform("models", "list", "--json").json["versions"]] == [None, None]


def test_the_champion_and_an_unknown_version_are_not_set_apart(platform: Command, registry: AppContext) -> None:
    said = platform("models", "quarantine", "1")
    assert said.code == 5
    assert "rollback" in said.err
    assert platform("models", "quarantine", "9").code == 4


def test_promoting_the_champion_is_refused(platform: Command, registry: AppContext) -> None:
    assert platform("models", "promote", "1").code == 5


def test_there_is_nothing_to_roll_back_to_before_a_second_version(platform: Command, registry: AppContext) -> None:
    said = platform("models", "rollback", "--json")
    assert (said.code, said.out) == (4, "")


def test_a_registry_that_is_away_is_exit_code_6(platform: Command, store: AppContext) -> None:
    for words in (("list",), ("card", "1"), ("promote", "1")):
        assert platform("models", *words).code == 6


def test_a_version_is_tried_beside_the_champion_and_stopped(platform: Command, registry: AppContext) -> None:
    assert "gate" in platform("models", "canary", "2", "--share", "0.2").err
    begun = platform("models", "canary", "2", "--share", "0.2", "--by", "ada", "--force")
    assert (begun.code, begun.out) == (
        0,
        "version 2 is tried as canary beside version 1; servers load it within seconds\n",
    )
    assert "version 2, canary for 20% of clients beside version 1" in platform("models", "list").out
    assert platform("models", "list", "--json").json["trial"]["actor"] == "ada"
    refused = platform("models", "shadow", "2")
    assert (refused.code, "tried already" in refused.err) == (5, True)
    assert platform("models", "shadow", "2", "--stop").code == 4
    assert platform("models", "canary", "2", "--stop").out == "version 2 is no canary any more\n"
    assert platform("models", "shadow", "2", "--json").json["role"] == "shadow"
    assert platform("models", "shadow", "2", "--stop", "--json").json["state"] == "stopped"
    assert platform("models", "shadow", "1").code == 5
    assert platform("models", "canary", "2", "--share", "1.5").code == 3
