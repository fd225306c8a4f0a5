"""The registry of rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import fleet.source
import fleet.spec.load
import fleet.spec.traces  # noqa: F401  their rules are registered on import
from fleet.diagnostics import (
    Diagnostic,
    Rule,
    Severity,
    all_rules,
    at,
    check,
    closest,
    did_you_mean,
    enumerated,
    get_rule,
    register,
)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own copy of the registry."""
    monkeypatch.setattr("fleet.diagnostics._RULES", {rule.name: rule for rule in all_rules()})


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.name)
def test_every_rule_says_what_why_and_fix_in_sentences(rule: Rule) -> None:
    for part in (rule.what, rule.why):
        assert part.endswith(".")
        assert len(part) > 20
    assert len(rule.fix) > 10
    assert rule.fix not in (rule.what, rule.why)
    for heading in ("What: ", "Why: ", "Fix: "):
        assert heading in rule.page


def test_rules_are_listed_by_name_and_found_by_it() -> None:
    names = [rule.name for rule in all_rules()]
    assert names == sorted(names)
    assert len(names) > 50
    assert get_rule("duplicate-key").name == "duplicate-key"
    with pytest.raises(KeyError):
        get_rule("no-such-rule")


@pytest.mark.parametrize("name", ["CamelCase", "one", "snake_case", "with space", "-dash", "dash-", ""])
def test_a_rule_name_is_kebab_case(name: str) -> None:
    with pytest.raises(ValueError, match="kebab-case"):
        register(name, what="W.", why="Y.", fix="F.")


@pytest.mark.parametrize("gap", ["what", "why", "fix"])
def test_a_rule_needs_every_section(gap: str) -> None:
    sections = {"what": "W.", "why": "Y.", "fix": "F."} | {gap: ""}
    with pytest.raises(ValueError, match="lacks What, Why or Fix"):
        register("half-a-rule", **sections)


def test_a_name_is_registered_once() -> None:
    register("once-only", what="W.", why="Y.", fix="F.")
    with pytest.raises(ValueError, match="registered twice"):
        register("once-only", what="W.", why="Another reason.", fix="F.")


def test_a_check_takes_its_rule_from_its_name_and_docstring() -> None:
    @check(Severity.WARNING)
    def odd_number(subject: int) -> Iterator[Diagnostic]:
        """A number is odd.

        What: The number
            is odd.
        Why: Odd numbers do not halve.
        Fix: Add one.
        """
        if subject % 2:
            yield odd_number.report(f"{subject} is odd", at("number"))

    assert odd_number.rule == get_rule("odd-number")
    assert odd_number.rule.what == "The number is odd."
    assert list(odd_number.find(4)) == []
    (found,) = odd_number.find(3)
    assert (found.rule, found.severity, found.help, found.path) == (
        "odd-number",
        Severity.WARNING,
        "add one",
        ("number",),
    )


def test_a_check_without_a_docstring_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks What, Why or Fix"):

        @check()
        def bare_check(subject: int) -> Iterator[Diagnostic]:
            yield from ()


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("caht", ["chat", "code"], "did you mean 'chat'?"),
        ("CHAT", ["chat", "code"], "did you mean 'chat'?"),
        ("x", ["b", "a"], "known are 'a' and 'b'"),
        ("x", [], "none are declared"),
        ("y" * 100_000, ["a"], "known are 'a'"),
    ],
)
def test_an_unknown_word_gets_the_closest_or_the_known_ones(word: str, known: list[str], said: str) -> None:
    assert did_you_mean(word, known) == said


def test_the_closest_word_does_not_depend_on_order() -> None:
    assert closest("ab", ["abd", "abc"]) == closest("ab", ["abc", "abd"])


def test_many_names_are_counted_rather_than_listed() -> None:
    assert enumerated([str(n) for n in range(20)], shown=2) == "'0', '1' and 18 more"
