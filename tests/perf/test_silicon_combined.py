"""Two backends as one: tables count where a cell has no data, and only there, and provenance says how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.layout import Precision, Role
from fleet.perf.calibrated import Calibrated
from fleet.perf.combined import Combination, Combined, Rule, committed, weighted
from fleet.perf.error_bars import class_of
from fleet.perf.interface import Basis, Estimate, Point, Unsupported
from fleet.perf.roofline import Roofline

from .parts import point
from .test_roofline import points

UNSEEN = point(model="qwen3-32b", gpu="b200-hgx", engine_name="sglang", tp=2)
FITTED = point(model="llama-3.3-70b", gpu="h100-sxm", engine_name="vllm", kv=Precision.BF16, tp=4)
LENT = point(model="qwen3.5-397b-a17b", gpu="b300-hgx", engine_name="sglang", tp=8)

RULES = Combination(
    "rules",
    {
        f"{engine}|{kind}": Rule(0.5, 0.25, 0.1, 0.2)
        for engine in ("vllm", "sglang", "trtllm")
        for kind in ("dense", "moe", "apart")
    },
)


@dataclass(frozen=True)
class Scaled:
    """A backend for tests: the calibrated one, every time so many times as long."""

    factor: float
    note: str = ""
    refuses: bool = False

    @property
    def name(self) -> str:
        return "silicon"

    @property
    def digest(self) -> str:
        return f"{self.factor}"

    def estimate(self, points: Sequence[Point]) -> list[Estimate | Unsupported]:
        answers: list[Estimate | Unsupported] = []
        for answer in Calibrated().estimate(points):
            if isinstance(answer, Unsupported):
                answers.append(answer)
            elif self.refuses:
                answers.append(Unsupported("tables-lack-data", "a test"))
            else:
                times = ("decode_step_ms", "prefill_ms", "prefill_latency_ms", "interference_ms")
                longer = {name: getattr(answer, name) * self.factor for name in times}
                provenance = replace(answer.provenance, note=self.note)
                answers.append(replace(answer, **longer, provenance=provenance))
        return answers


def one(model: Combined | Calibrated, p: Point) -> Estimate:
    answer = model.estimate([p])[0]
    assert isinstance(answer, Estimate), answer
    return answer


def test_the_samples_are_what_they_are_called() -> None:
    assert one(Calibrated(), UNSEEN).provenance.basis is Basis.EXTRAPOLATED
    assert one(Calibrated(), FITTED).provenance.basis is Basis.FITTED
    assert "coefficients of b200-hgx" in one(Calibrated(), LENT).provenance.note


def test_an_unseen_cell_is_the_weighted_geometric_mean_of_both() -> None:
    own, both = one(Calibrated(), UNSEEN), one(Combined(Calibrated(), Scaled(4.0), RULES), UNSEEN)
    assert both.decode_step_ms == pytest.approx(2.0 * own.decode_step_ms, rel=1e-5)
    assert both.interference_ms == pytest.approx(2.0 * own.interference_ms, rel=1e-5)
    assert both.prefill_latency_ms >= 4.0**0.25 * own.prefill_latency_ms * (1 - 1e-5)
    assert (both.relative_error_p90, both.ttft_relative_error_p90) == (0.1, 0.2)
    assert both.provenance.backend == "calibrated+silicon(0.5)"
    assert both.constant_ms == own.constant_ms


@pytest.mark.parametrize("p", [FITTED, LENT], ids=["its own data", "those of an older sibling"])
def test_a_cell_whose_level_is_known_stays_as_it_is(p: Point) -> None:
    assert one(Combined(Calibrated(), Scaled(4.0), RULES), p) == one(Calibrated(), p)


def test_a_sibling_lends_only_what_the_model_has_data_of() -> None:
    blind = Combined(Calibrated(), Scaled(4.0), RULES, cells=frozenset())
    assert one(blind, LENT).provenance.backend == "calibrated+silicon(0.5)"


def test_what_the_tables_cannot_price_keeps_the_calibrated_estimate_and_says_so() -> None:
    own, both = (
        one(Calibrated(), UNSEEN),
        one(Combined(Calibrated(), Scaled(1.0, refuses=True), RULES), UNSEEN),
    )
    assert both.decode_step_ms == own.decode_step_ms
    assert both.provenance.backend == "calibrated"
    assert "silicon: tables-lack-data" in both.provenance.note


def test_a_substitution_in_the_tables_is_noted_and_never_narrows_the_error() -> None:
    own = one(Calibrated(), UNSEEN)
    both = one(Combined(Calibrated(), Scaled(1.0, note="experts priced as EP8"), RULES), UNSEEN)
    assert "experts priced as EP8" in both.provenance.note
    assert both.relative_error_p90 >= own.relative_error_p90


def test_a_class_without_a_rule_keeps_the_calibrated_estimate() -> None:
    assert one(Combined(Calibrated(), Scaled(4.0), Combination("none", {})), UNSEEN) == one(
        Calibrated(), UNSEEN
    )


def test_the_digest_changes_with_either_backend_and_with_the_rules() -> None:
    digests = {
        Combined(Calibrated(), Scaled(1.0), RULES).digest,
        Combined(Calibrated(), Scaled(2.0), RULES).digest,
        Combined(Calibrated(), Scaled(1.0), replace(RULES, digest="other")).digest,
    }
    assert len(digests) == 3


@settings(max_examples=30, deadline=None)
@given(st.lists(points(), min_size=1, max_size=8), st.floats(0.05, 20.0))
def test_no_combination_beats_the_floor_or_loses_a_point(asked: list[Point], factor: float) -> None:
    answers = Combined(Calibrated(), Scaled(factor), RULES).estimate(asked)
    for floor, own, both in zip(
        Roofline().estimate(asked), Calibrated().estimate(asked), answers, strict=True
    ):
        assert isinstance(own, Unsupported) == isinstance(both, Unsupported)
        if isinstance(both, Estimate) and isinstance(floor, Estimate):
            assert both.decode_step_ms >= floor.decode_step_ms
            assert both.prefill_ms >= floor.prefill_ms
            assert both.prefill_latency_ms >= floor.prefill_latency_ms


@given(st.floats(1e-3, 1e4), st.floats(1e-3, 1e4), st.floats(0.0, 1.0))
def test_a_weighted_mean_lies_between_both(a: float, b: float, weight: float) -> None:
    assert min(a, b) * (1 - 1e-9) <= weighted(a, b, weight) <= max(a, b) * (1 + 1e-9)


def test_the_kept_rules_cover_every_class_and_stay_within_bounds() -> None:
    kept = committed().rules
    asked = [replace(UNSEEN, role=role) for role in (Role.MIXED, Role.DECODE)]
    assert {class_of(p) for p in asked} <= set(kept)
    assert all(0.0 <= rule.step <= 1.0 and 0.0 <= rule.latency <= 1.0 for rule in kept.values())
    assert all(rule.tpot_error_p90 > 0.0 and rule.ttft_error_p90 > 0.0 for rule in kept.values())
