"""The review for a terminal: plain text of at most 100 columns, colour on demand."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.plan.changes import PlanDiff
from fleet.plan.document import FleetPlan
from fleet.review.compose import compose
from fleet.review.lines import clean, display_width, table_lines, wrap
from fleet.review.report import Block, Facts, Item, Items, Mark, Picture, Report, Section, Table
from fleet.review.workload import workload_section

WIDTH = 100
INDENT = "  "
BOLD, RED, GREEN, YELLOW, RESET = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
MARK_COLOURS = {
    Mark.ADD: GREEN,
    Mark.CHANGE: YELLOW,
    Mark.REMOVE: RED,
    Mark.MOVE: YELLOW,
    Mark.HIGH: RED,
    Mark.WARN: YELLOW,
}
MARK_WIDTH = 4


def render_text(diff: PlanDiff, plan: FleetPlan, *, colour: bool = False) -> str:
    """Return the whole review. The headline stands first and again at the end; the last line is the line of counts.

    Every string of the plan loses its control characters. Without `colour` no escape sequence is printed.
    """
    return _Writer(colour).report(compose(diff, plan))


def render_workload_text(plan: FleetPlan, workload: str, *, colour: bool = False) -> str:
    """Return the part of the review about one workload, for `fleetc explain`.

    Raises:
        KeyError: the plan has no such workload.
    """
    found = next((w for w in plan.workloads if w.name == workload), None)
    if found is None:
        raise KeyError(workload)
    return "\n".join(_Writer(colour).section(workload_section(found, plan, importance=0))) + "\n"


class _Writer:
    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def report(self, report: Report) -> str:
        headline = [self._paint(line, BOLD) for line in wrap(clean(report.headline), WIDTH)]
        lines = [*headline]
        for section in report.sections:
            lines.extend(["", *self.section(section)])
        return "\n".join([*lines, "", *headline, "", self._paint(report.closing, BOLD), ""])

    def section(self, section: Section) -> list[str]:
        title = wrap(clean(section.title), WIDTH)
        lines = [self._paint(line, BOLD) for line in title]
        lines.append("-" * max(map(display_width, title)))
        for number, block in enumerate(section.blocks):
            if number and block.title:
                lines.append("")
            lines.extend(self._paint(line, BOLD) for line in wrap(clean(block.title), WIDTH) if block.title)
            lines.extend(self._block(block))
        return lines

    def _block(self, block: Block) -> Iterator[str]:
        match block:
            case Items():
                for item in block.items:
                    yield from self._item(item)
            case Facts():
                label_width = max((display_width(clean(label)) for label, _ in block.rows), default=0)
                for label, value in block.rows:
                    head = f"{INDENT}{clean(label).ljust(label_width)}  "
                    yield from _hanging(head, clean(value))
            case Table():
                rows = tuple(tuple(clean(cell) for cell in row) for row in block.rows)
                for line in table_lines(block.columns, rows, WIDTH - len(INDENT)):
                    yield INDENT + line
            case Picture():
                for line in block.lines:
                    yield INDENT + clean(line)

    def _item(self, item: Item) -> Iterator[str]:
        head = f"{INDENT}{item.mark.value.ljust(MARK_WIDTH) if item.mark else ''}"
        lines = list(_hanging(head, clean(item.text)))
        if item.mark:
            painted = self._paint(item.mark.value, MARK_COLOURS[item.mark])
            lines[0] = lines[0].replace(item.mark.value, painted, 1)
        yield from lines
        for note in item.notes:
            yield from _hanging(" " * (len(head) + len(INDENT)), clean(note))

    def _paint(self, text: str, code: str) -> str:
        return f"{code}{text}{RESET}" if self._colour else text


def _hanging(head: str, text: str) -> Iterator[str]:
    """Lines of a text behind a head; those after the first are indented by the head's width."""
    for number, line in enumerate(wrap(text, WIDTH - len(head))):
        yield (head if number == 0 else " " * len(head)) + line
