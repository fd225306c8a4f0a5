"""Lengths as written become a distribution with the stated mean and percentiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.pipeline.lengths import Marginal, fixed, joint, marginal
from fleet.spec.model import LengthSpec

TRACES = {
    "Azure conversation prompts": LengthSpec(mean=1155, p50=1020, p90=2735, p95=4083, p99=4142, max=14050),
    "Azure conversation answers": LengthSpec(mean=211, p50=129, p90=424, p95=451, p99=601, max=1000),
    "Azure code answers, many tiny ones": LengthSpec(mean=28, p50=13, p90=55, p95=90, p99=251, max=1899),
    "Mooncake prompts with a heavy tail": LengthSpec(
        mean=12035, p50=6909, p90=27367, p95=39551, p99=85400, max=126195
    ),
}


@pytest.mark.parametrize("spec", TRACES.values(), ids=TRACES.keys())
def test_the_mean_is_the_written_one(spec: LengthSpec) -> None:
    assert marginal(spec).mean == pytest.approx(spec.mean, rel=1e-6)


@pytest.mark.parametrize("spec", TRACES.values(), ids=TRACES.keys())
def test_the_tail_is_as_heavy_as_written(spec: LengthSpec) -> None:
    found = marginal(spec)
    assert spec.p90 is not None
    assert spec.p99 is not None
    assert spec.max is not None
    assert found.quantile(0.9) >= 0.75 * spec.p90
    assert found.quantile(0.99) >= 0.9 * spec.p99  # a cell stands at its mean
    assert found.values[-1] <= 1.15 * spec.max


def test_a_plain_number_is_every_request() -> None:
    assert marginal(1024) == fixed(1024) == Marginal((1024,), (1.0,))


def test_a_mean_alone_is_a_lognormal_with_a_tail() -> None:
    found = marginal(LengthSpec(mean=1000))
    assert found.mean == pytest.approx(1000)
    assert found.quantile(0.99) > 3 * found.quantile(0.5)


def test_a_histogram_keeps_its_shares() -> None:
    found = marginal(LengthSpec(histogram=((100, 0.25), (300, 0.75))))
    assert found.mean == pytest.approx(0.25 * 50 + 0.75 * 200)
    assert sum(w for v, w in zip(found.values, found.weights, strict=True) if v <= 100) == pytest.approx(0.25)
    assert 100 < found.values[-1] <= 300


@given(
    p50=st.integers(2, 20_000),
    ratios=st.tuples(st.floats(1.0, 4.0), st.floats(1.0, 3.0)),
    mean_factor=st.floats(0.7, 2.0),
)
def test_any_percentiles_give_an_ascending_distribution(
    p50: int, ratios: tuple[float, float], mean_factor: float
) -> None:
    p90 = int(p50 * ratios[0])
    found = marginal(LengthSpec(mean=p50 * mean_factor, p50=p50, p90=p90, p99=int(p90 * ratios[1])))
    assert list(found.values) == sorted(found.values)
    assert sum(found.weights) == pytest.approx(1)
    assert min(found.values) >= 1


def test_independent_lengths_multiply() -> None:
    both = joint(Marginal((1.0, 2.0), (0.5, 0.5)), Marginal((10.0, 20.0), (0.9, 0.1)))
    assert len(both.weight) == 4
    assert sum(both.weight) == pytest.approx(1)
    assert sum(i * w for i, w in zip(both.input_tokens, both.weight, strict=True)) == pytest.approx(1.5)
