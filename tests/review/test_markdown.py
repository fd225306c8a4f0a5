"""The pull-request comment: marker, first line, size, and strings that cannot become markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from fleet.plan.diff import diff_plans
from fleet.review.lines import clean
from fleet.review.markdown import escape, escape_line, marker, render_markdown
from tests.plans import dev_plan, prod_plan
from tests.review.reviewed import NASTY, changed_prod, first, many_deployments, nasty_plan, unchanged


def test_first_line_is_the_hidden_marker_and_the_next_one_has_verdict_money_and_risk() -> None:
    lines = render_markdown(*changed_prod()).splitlines()
    assert lines[:2] == ["[//]: <> (fleetc-plan:prod)", ""]
    assert re.match(
        r"\*\*prod: CHANGES WITH HIGH RISK \(\d+ high, \d+ others?\); \\\$[\d,.]+/h = \\\$[\d,]+/month, -",
        lines[2],
    )


def test_last_line_counts_in_the_form_of_terraform() -> None:
    assert (
        render_markdown(*changed_prod()).splitlines()[-1] == "**Plan: 1 to add, 1 to change, 2 to destroy.**"
    )


def test_details_are_folded_and_money_risk_and_changes_are_not() -> None:
    text = render_markdown(*first(prod_plan()))
    opened = text.count("<details>")
    assert opened == text.count("</details>") == 9
    unfolded = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert re.findall(r"^### (\S+)", unfolded, flags=re.MULTILINE) == ["At", "Risks", "What"]
    assert "Rack map" not in unfolded


@pytest.mark.parametrize("number", [1, 20, 60, 200, 500])
def test_comment_stays_under_64000_characters_whatever_the_fleet(number: int) -> None:
    diff, plan = first(many_deployments(number))
    text = render_markdown(diff, plan)
    assert len(text) < 64_000
    assert len(text.encode()) < 64_000
    assert text.splitlines()[-1] == f"**Plan: {number} to add, 0 to change, 0 to destroy.**"
    assert text.count("<details>") == text.count("</details>")


def test_what_is_left_out_is_named_and_counted() -> None:
    text = render_markdown(*first(many_deployments(200)))
    left = re.search(
        r"^_(\d+) sections? left out to stay under 64,000 characters: (.*)\. The text review",
        text,
        flags=re.MULTILINE,
    )
    assert left
    shown = text.count("<details>")
    assert int(left[1]) + shown == 200 + 5  # workloads, and map, capacity, certificate, warnings, inputs
    assert "<summary>Certificate</summary>" in text
    assert re.search(r"_and \d+ more_", text)


def test_small_review_leaves_nothing_out() -> None:
    text = render_markdown(*first(prod_plan()))
    assert "left out" not in text
    assert not re.search(r"_and \d+ more_", text)


def test_changed_workloads_stay_before_unchanged_ones() -> None:
    """One of 200 workloads loses a replica: its section is there, though most of the others are not."""
    old = many_deployments(200)
    name = old.deployments[150].id
    smaller = tuple(d.model_copy(update={"replicas": 1}) if d.id == name else d for d in old.deployments)
    new = old.model_copy(update={"deployments": smaller})
    text = render_markdown(diff_plans(old, new), new)
    assert len(text) < 64_000
    assert f"<summary>Workload {new.deployments[150].served[0].workload}:" in text
    assert text.count("<summary>Workload") < 200


def test_giant_strings_are_cut_and_say_so() -> None:
    plan = dev_plan()
    warnings = tuple(w.model_copy(update={"message": "x" * 500_000}) for w in plan.warnings) * 50
    text = render_markdown(*first(plan.model_copy(update={"warnings": warnings})))
    assert len(text) < 64_000
    assert "characters more)" in text


OUR_TAGS = {
    *("details", "summary", "h3", "p", "ul", "li", "strong", "em", "code", "pre"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


class Page(HTMLParser):
    """What a browser gets: the tags and the text."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(
            MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)
        )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_strings_of_the_plan_become_no_markup_and_are_shown_as_they_are() -> None:
    page = Page(render_markdown(*first(nasty_plan())))
    assert page.tags <= OUR_TAGS
    # label twice, SLO class, source, nine answers, two examples, alternative, checkpoint, message twice, help
    assert page.text.count(clean(NASTY)) == 20
    assert "dev --> <b>: CHANGES" in page.text


def test_strings_of_the_plan_call_nobody_and_refer_to_nothing() -> None:
    text = render_markdown(*first(nasty_plan()))
    assert text.splitlines()[0] == "[//]: <> (fleetc-plan:dev------b-)"
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not re.search(r"@[A-Za-z]", text)
    assert not re.search(r"(?<!&)#\d", text)


def test_questions_are_no_numbered_list_inside_a_list() -> None:
    assert "ol" not in Page(render_markdown(*first(prod_plan()))).tags


def test_every_table_row_has_the_cells_of_its_header() -> None:
    """A pipe of the plan would add a cell."""
    header = 0
    seen = 0
    for line in render_markdown(*first(nasty_plan())).splitlines():
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)\|", line))
            header = header or cells
            assert cells == header, line
            seen += 1
        else:
            header = 0
    assert seen > 8


ESCAPES = {
    "pipe": ("a|b", "a\\|b"),
    "backtick": ("`x`", "\\`x\\`"),
    "tag": ("<script>", "&lt;script>"),
    "entity": ("&lt;", "&amp;lt;"),
    "link": ("[x](y)", "\\[x\\](y)"),
    "backslash before a pipe": ("\\|", "\\\\\\|"),
    "emphasis": ("_x_ *y* a_b", "\\_x\\_ \\*y\\* a_b"),
    "mention": ("@team", "@<!-- -->team"),
    "issue": ("#12", "#<!-- -->12"),
    "mathematics": ("$1 and $2", "\\$1 and \\$2"),
    "new line": ("a\n\n# b", "a   # b".replace("   ", "  ")),
}


@pytest.mark.parametrize(("raw", "shown"), ESCAPES.values(), ids=list(ESCAPES))
def test_escaped(raw: str, shown: str) -> None:
    assert escape(raw) == shown


@pytest.mark.parametrize("raw", ["- a", "+ a", "> a", "# a", "1. a", "2) a", "= a"])
def test_line_start_opens_no_block(raw: str) -> None:
    assert "\\" in escape_line(raw)
    assert escape_line(raw).replace("\\", "") == raw


def test_marker_cannot_be_left() -> None:
    assert marker("a) <script>\n") == "[//]: <> (fleetc-plan:a---script--)"


def test_same_plans_give_the_same_bytes() -> None:
    assert render_markdown(*changed_prod()) == render_markdown(*changed_prod())


def test_no_changes_says_so_first() -> None:
    assert "**prod: NO CHANGES (" in render_markdown(*unchanged(prod_plan()))


def test_nasty_is_nasty() -> None:
    assert all(mark in NASTY for mark in "|`<[@#$*\x1b\n")
