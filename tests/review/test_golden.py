"""What a reviewer sees, whole: sample plans against golden files."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleet.plan.changes import PlanDiff
from fleet.plan.document import FleetPlan
from fleet.review.markdown import render_markdown
from fleet.review.text import render_text
from tests.plans import dev_plan, prod_plan
from tests.review.reviewed import changed_prod, first, unchanged

REVIEWS: dict[str, Callable[[], tuple[PlanDiff, FleetPlan]]] = {
    "dev-first": lambda: first(dev_plan()),
    "dev-unchanged": lambda: unchanged(dev_plan()),
    "prod-first": lambda: first(prod_plan()),
    "prod-changed": changed_prod,
}


@pytest.mark.parametrize("name", REVIEWS)
def test_text_review_is_as_reviewed(name: str, assert_golden: Callable[[str, str], None]) -> None:
    assert_golden(f"{name}.txt", render_text(*REVIEWS[name]()))


@pytest.mark.parametrize("name", REVIEWS)
def test_markdown_review_is_as_reviewed(name: str, assert_golden: Callable[[str, str], None]) -> None:
    assert_golden(f"{name}.md", render_markdown(*REVIEWS[name]()))
