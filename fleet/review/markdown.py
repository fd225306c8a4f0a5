"""The review for a pull request: verdict, money and risk first, details folded, never too long for a comment."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from fleet.plan.changes import PlanDiff
from fleet.plan.document import FleetPlan
from fleet.review.compose import compose
from fleet.review.format import counted, listed
from fleet.review.lines import clean
from fleet.review.report import Block, Facts, Item, Items, Mark, Picture, Report, Section, Table

LIMIT_BYTES = 64_000
"""GitHub takes 65,536 characters; bytes are counted, which is never fewer."""
LONGEST_TEXT = 600
"""Characters of one text; a longer one is cut, with what is missing said."""
CLOSING_RESERVE = 1_000
ALWAYS_SHARE = 0.7
"""Part of the limit that sections which always stay may take."""

_MARKDOWN = re.compile(r"([\\`*\[\]|~$<]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_REFERENCE = re.compile(r"([@#])(?=[\w-])")
_LINE_START = re.compile(r"^(\d*)([-+>=#.)])")
_NOT_IN_MARKER = re.compile(r"[^A-Za-z0-9._-]")
MARKS = {
    Mark.NONE: "",
    Mark.ADD: "`+` ",
    Mark.CHANGE: "`~` ",
    Mark.REMOVE: "`-` ",
    Mark.MOVE: "`-/+` ",
    Mark.HIGH: "**high** ",
    Mark.WARN: "",
}


def render_markdown(diff: PlanDiff, plan: FleetPlan) -> str:
    """Return a comment of fewer than 64,000 characters.

    The first line is hidden and names the fleet, so that a bot finds its comment again. Every string of the plan is
    escaped: it cannot become markup, a mention or a link. What does not fit is left out, least important first, and
    named at the end.
    """
    report = compose(diff, plan)
    head = f"{marker(report.fleet)}\n\n**{escape(report.headline)}**\n"
    tail = f"\n**{escape(report.closing)}**\n"
    budget = LIMIT_BYTES - _size(head) - _size(tail) - CLOSING_RESERVE
    texts, left_out = _fit(report, budget)
    body = "".join(f"\n{text}\n" for text in texts)
    note = f"\n{_left_out(left_out)}\n" if left_out else ""
    return head + body + note + tail


def marker(fleet: str) -> str:
    """Return the hidden first line by which a comment is updated in place.

    >>> marker("prod")
    '[//]: <> (fleetc-plan:prod)'
    """
    return f"[//]: <> (fleetc-plan:{_NOT_IN_MARKER.sub('-', fleet)})"


def escape(text: str) -> str:
    r"""Return text that Markdown shows as it is: no markup, HTML, mathematics, mention or reference.

    >>> escape("a|b `c` <img> @team $1")
    'a\\|b \\`c\\` &lt;img> @<!-- -->team \\$1'
    """
    more = len(text) - LONGEST_TEXT
    text = clean(text[:LONGEST_TEXT]).strip() + (f" (and {more:,} characters more)" if more > 0 else "")
    text = _MARKDOWN.sub(
        lambda found: "&lt;" if found[0] == "<" else f"\\{found[0]}", text.replace("&", "&amp;")
    )
    return _REFERENCE.sub(r"\1<!-- -->", text)


def escape_line(text: str) -> str:
    r"""Return escaped text that also starts no list, quote or heading.

    >>> escape_line("1. one"), escape_line("- two")
    ('1\\. one', '\\- two')
    """
    return _LINE_START.sub(r"\1\\\2", escape(text))


# ---------------------------------------------------------------- what fits


def _fit(report: Report, budget: int) -> tuple[list[str], list[Section]]:
    """Return the sections that fit, in the report's order, and those left out, in the same order."""
    always = [section for section in report.sections if section.importance == 0]
    shown = _shortened(always, int(budget * ALWAYS_SHARE))
    budget -= sum(map(_cost, shown.values()))
    left_out = []
    for section in sorted((s for s in report.sections if s.importance), key=lambda s: s.importance):
        text = _folded(section)
        if _cost(text) <= budget:
            shown[section.title] = text
            budget -= _cost(text)
        else:
            left_out.append(section.title)
    ordered = [section for section in report.sections if section.title in shown]
    return [shown[s.title] for s in ordered], [s for s in report.sections if s.title in left_out]


def _shortened(sections: list[Section], budget: int) -> dict[str, str]:
    """Render sections that always stay; where they are too long, every list shows fewer entries until they fit."""
    most = max((_entries(block) for section in sections for block in section.blocks), default=0)
    while True:
        texts = {section.title: _open(section, most) for section in sections}
        if sum(map(_cost, texts.values())) <= budget or most == 0:
            return texts
        most //= 2


def _entries(block: Block) -> int:
    match block:
        case Items():
            return len(block.items)
        case Facts() | Table():
            return len(block.rows)
        case Picture():
            return len(block.lines)


def _left_out(sections: list[Section]) -> str:
    titles = [section.title.split(":")[0] for section in sections]
    what = f"{counted(len(titles), 'section')} left out to stay under {LIMIT_BYTES:,} characters: {listed(titles)}."
    return f"_{escape(what)} The text review (`fleetc diff --format text`) has everything._"


def _size(text: str) -> int:
    return len(text.encode())


def _cost(text: str) -> int:
    """Bytes of a section in the comment: its text between two line ends."""
    return _size(text) + 2


# ---------------------------------------------------------------- notation


def _open(section: Section, most: int) -> str:
    blocks = "\n\n".join(_block(block, most) for block in section.blocks)
    return f"### {escape(section.title)}\n\n{blocks}".rstrip()


def _folded(section: Section) -> str:
    blocks = "\n\n".join(_block(block, None) for block in section.blocks)
    return f"<details><summary>{_html(section.title)}</summary>\n\n{blocks}\n\n</details>"


def _html(text: str) -> str:
    return _REFERENCE.sub(r"\1<!-- -->", html.escape(clean(text), quote=False))


def _block(block: Block, most: int | None) -> str:
    """Return a block; at most `most` entries (None: all), the rest counted."""
    total = _entries(block)
    shown = total if most is None else min(most, total)
    lines = [f"**{escape(block.title)}**", ""] if block.title else []
    match block:
        case Items():
            lines.extend(line for item in block.items[:shown] for line in _item(item))
        case Facts():
            lines.extend(f"- **{escape(label)}**: {escape(value)}" for label, value in block.rows[:shown])
        case Table():
            lines.extend(_table(block, shown))
        case Picture():
            lines.extend(_fence(block.lines[:shown]))
    if shown < total:
        lines.extend(["", f"_and {total - shown:,} more_"])
    return "\n".join(lines)


def _item(item: Item) -> Iterator[str]:
    yield f"- {MARKS[item.mark]}{escape_line(item.text)}"
    yield from (f"  - {escape_line(note)}" for note in item.notes)


def _table(table: Table, shown: int) -> Iterator[str]:
    yield f"| {' | '.join(escape(column.name) or '&nbsp;' for column in table.columns)} |"
    yield f"|{'|'.join('---:' if column.is_number else '---' for column in table.columns)}|"
    yield from (f"| {' | '.join(escape(cell) for cell in row)} |" for row in table.rows[:shown])


def _fence(lines: tuple[str, ...]) -> Iterator[str]:
    """A code block whose fence is longer than any run of backticks within."""
    cleaned = [clean(line) for line in lines]
    longest = max((len(run) for line in cleaned for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}text", *cleaned, fence)
