"""Rules over the typed file: each has a file that breaks it, and the place and advice that follow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleet.diagnostics import Diagnostic, Rejected, Severity, Span
from fleet.source import SourceText, parse
from fleet.spec.load import load_spec
from fleet.spec.model import FleetFile
from fleet.spec.rules import CHECKS, check_spec

Judge = Callable[[str], list[Diagnostic]]

BASE = """\
apiVersion: fleetc.dev/v1
kind: Fleet
metadata: {name: test}
spec:
  as_of: 2026-11-24
  models:
    big: {card: llama-3.3-70b}
  slos:
    fast: {ttft: {p50: 300ms, p95: 800ms}, e2e: {p95: 30s}}
  workloads:
    chat:
      model: big
      slo: fast
      demand:
        rate: {mean: 8, peak: 24}
        input: {mean: 1155, p50: 1020, p99: 4k}
        output: {p50: 129, p90: 424}
        basis: measured
  hardware:
    offerings:
      one: {accelerator: h100-sxm, provider: gke, zone: a, available: {hosts: 8}, price: {per_gpu: 2, as_of: 2026-11-01}}
      two: {accelerator: h100-sxm, provider: gke, zone: b, available: {hosts: 8}, price: {catalog: spot}}
"""

ONE = "available: {hosts: 8}, price: {per_gpu: 2, as_of: 2026-11-01}"

# what stands in the base, what is put in its place, and every diagnostic: its rule, then line and underlined text of its labels
BROKEN = [
    pytest.param("model: big", "model: bgi", ["unused-model 7:big", "unknown-model 12:bgi"], id="a workload of a model that is not there"),
    pytest.param("slo: fast", "slo: slow", ["unused-slo 9:fast", "unknown-slo 13:slow"], id="a workload of an SLO that is not there"),
    pytest.param("slo: fast", "slo: fast\n      offerings: [one, tow]", ["unknown-offering 14:tow"], id="a workload restricted to an offering that is not there"),
    pytest.param("  hardware:", "  gateway: {tenants: {t: {workloads: [caht]}}}\n  hardware:", ["tenant-unknown-workload 19:caht"], id="a tenant of a workload that is not there"),
    pytest.param("    fast: {ttft: {p50: 300ms, p95: 800ms}, e2e: {p95: 30s}}\n", "    {}\n", ["empty-section 9:{}", "unknown-slo 13:fast"], id="no SLO at all"),
    pytest.param("    big: {card", "    old: {card: x}\n    big: {card", ["unused-model 7:old"], id="a model that no workload uses"),
    pytest.param("    fast: {ttft", "    old: {ttft: {p95: 1s}}\n    fast: {ttft", ["unused-slo 9:old"], id="an SLO that no workload uses"),
    pytest.param("    big: {card", "    b2: {card: x, served_name: big}\n    big: {card", ["unused-model 7:b2", "duplicate-served-name 8:big 7:big"], id="two models served under one name"),
    pytest.param("      two: {", "      o.x: {" + "accelerator: a, provider: gke, zone: c, " + ONE + "}\n      o-x: {", ["names-collide 23:o-x 22:o.x"], id="two offerings rendered under one name"),
    pytest.param("big: {card: llama-3.3-70b}", "big: {kv_cache: fp8}", ["model-without-source 7:big"], id="a model without card and config"),
    pytest.param("card: llama-3.3-70b", "card: x, hf_config: y", ["model-with-two-sources 7:y 7:x"], id="a model with card and config"),
    pytest.param("card: llama-3.3-70b", "card: x, checkpoints: [{precision: fp8}, {precision: fp8}]", ["duplicate-checkpoint 7:fp8 7:fp8"], id="two checkpoints of one precision"),
    pytest.param("card: llama-3.3-70b", "card: x, speculative: {method: mtp, draft_tokens: 1, acceptance_length: 2.5}", ["acceptance-above-draft 7:2.5 7:1"], id="more tokens accepted than drafted"),
    pytest.param("  hardware:", "  performance: {backends: [silicon]}\n  hardware:", ["unknown-backends 19:[silicon]"], id="kernel tables without the calibrated model"),
    pytest.param("  hardware:", "  performance: {backends: [calibrated, calibrated]}\n  hardware:", ["unknown-backends 19:[calibrated, calibrated]"], id="one backend twice"),
    pytest.param("{ttft: {p50: 300ms, p95: 800ms}, e2e: {p95: 30s}}", "{ttft: {}, priority: 1}", ["slo-without-limit 9:fast"], id="an SLO without a limit"),
    pytest.param("p50: 300ms", "p50: 900ms", ["slo-not-monotone 9:800ms 9:900ms"], id="a median above the 95th percentile"),
    pytest.param("e2e: {p95: 30s}", "attainment: 99.9%", ["attainment-out-of-range 9:99.9%"], id="three nines of attainment"),
    pytest.param("e2e: {p95: 30s}", "attainment: 0", ["attainment-out-of-range 9:0"], id="no attainment"),
    pytest.param("        rate: {mean: 8, peak: 24}\n", "", ["demand-without-rate 14:demand"], id="no rate"),
    pytest.param("rate: {mean: 8, peak: 24}", "rate: {}", ["demand-without-rate 15:{}"], id="a rate without figures"),
    pytest.param("rate: {mean: 8, peak: 24}", "rate: {constant: 1, peak: 24}", ["rate-ambiguous 15:1 15:24"], id="a constant rate with a peak"),
    pytest.param("rate: {mean: 8, peak: 24}", "rate: {mean: 1, trace: {path: x}}", ["rate-ambiguous 15:1 15:{path: x}", "rate-without-peak 15:1"], id="a mean rate with a trace"),
    pytest.param("basis: measured", "cancellation: 100%\n        basis: measured", ["demand-all-cancelled 18:100%"], id="nothing but cancelled requests"),
    pytest.param("peak: 24", "peak: 6", ["peak-below-mean 15:6 15:8"], id="a peak below the mean"),
    pytest.param("rate: {mean: 8, peak: 24}", "rate: 0", ["demand-is-zero 15:0"], id="no requests"),
    pytest.param("rate: {mean: 8, peak: 24}", "rate: {hourly: [" + ", ".join(["0"] * 24) + "]}", ["demand-is-zero 15:{hourly: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]}"], id="no requests in any hour"),
    pytest.param(", peak: 24", "", ["rate-without-peak 15:8"], id="a mean without a peak"),
    pytest.param("basis: measured", "basis: guessed", ["guessed-demand 18:guessed"], id="a guess"),
    pytest.param("basis: measured", "basis: forecast", ["forecast-demand 18:forecast"], id="a forecast"),
    pytest.param("basis: measured", "basis: measured\n        retries: 6%", ["retries-multiply-load 19:6%"], id="six per cent of retries"),
    pytest.param("  hardware:", "  gateway: {retries: {attempts: 2}}\n  hardware:", ["retries-multiply-load 19:2"], id="a gateway that retries"),
    pytest.param("        output: {p50: 129, p90: 424}\n", "", ["demand-without-lengths 14:demand"], id="no output lengths"),
    pytest.param("output: {p50: 129, p90: 424}", "output: {max: 4k}", ["demand-without-lengths 17:{max: 4k}"], id="a maximum alone"),
    pytest.param("output: {p50: 129, p90: 424}", "output: {p50: 9, histogram: [[9, 1]]}", ["lengths-ambiguous 17:histogram 17:9"], id="a histogram beside a percentile"),
    pytest.param("output: {p50: 129, p90: 424}", "output: 0", ["length-is-zero 17:0"], id="answers of no tokens"),
    pytest.param("output: {p50: 129, p90: 424}", "output: {mean: 0}", ["length-is-zero 17:0"], id="answers of no tokens in the mean"),
    pytest.param("p50: 129, p90: 424", "p50: 129, p90: 100", ["percentiles-not-monotone 17:100 17:129"], id="percentiles that fall"),
    pytest.param("p99: 4k", "p99: 4k, max: 3k", ["percentiles-not-monotone 16:3k 16:4k"], id="a maximum below the 99th percentile"),
    pytest.param("mean: 1155", "mean: 500", ["mean-outside-percentiles 16:500 16:4k"], id="a mean that the median rules out"),
    pytest.param("mean: 1155", "mean: 5k", ["mean-outside-percentiles 16:5k 16:4k"], id="a mean above the 99th percentile"),
    pytest.param("output: {p50: 129, p90: 424}", "output: {histogram: [[9, 0.5], [9, 0.5]]}", ["histogram-not-increasing 17:9 17:9"], id="a histogram that does not rise"),
    pytest.param("output: {p50: 129, p90: 424}", "output: {histogram: [[9, 0.5], [19, 0.4]]}", ["histogram-shares-off 17:histogram"], id="shares that do not add up"),
    pytest.param("basis: measured", "basis: measured\n        prefix: {shared_tokens: 1100}", ["prefix-longer-than-prompt 19:1100 16:1020"], id="a prefix longer than the median prompt"),
    pytest.param("input: {mean: 1155, p50: 1020, p99: 4k}", "input: 99\n        prefix: {shared_tokens: 100}", ["prefix-longer-than-prompt 17:100 16:99"], id="a prefix longer than every prompt"),
    pytest.param("price: {per_gpu: 2, as_of: 2026-11-01}", "price: {}", ["offering-without-price 21:price"], id="no price"),
    pytest.param("per_gpu: 2,", "per_gpu: 2, catalog: spot,", ["price-ambiguous 21:2 21:spot"], id="two prices"),
    pytest.param(", as_of: 2026-11-01", "", ["price-without-date 21:2"], id="a price without a date"),
    pytest.param("as_of: 2026-11-01", "as_of: 2026-11-25", ["price-in-the-future 21:2026-11-25 5:2026-11-24"], id="a price of tomorrow"),
    pytest.param("available: {hosts: 8}, price: {per_gpu", "available: {}, price: {per_gpu", ["amount-missing 21:available"], id="no amount"),
    pytest.param("available: {hosts: 8}, price: {per_gpu", "available: {hosts: 8, racks: 1}, price: {per_gpu", ["amount-ambiguous 21:8 21:1"], id="an amount in hosts and racks"),
    pytest.param("price: {per_gpu", "committed: {hosts: 9}, price: {per_gpu", ["committed-exceeds-available 21:9 21:8"], id="more committed than there is"),
    pytest.param("price: {per_gpu", "unit: {hosts: 0}, price: {per_gpu", ["purchase-unit-is-zero 21:0"], id="units of nothing"),
    pytest.param("price: {per_gpu", "unit: {hosts: 3}, price: {per_gpu", ["unit-does-not-divide 21:8 21:3"], id="eight hosts in units of three"),
    pytest.param("price: {per_gpu", "unit: {hosts: 4}, committed: {hosts: 2}, price: {per_gpu", ["unit-does-not-divide 21:2 21:4"], id="half a unit committed"),
    pytest.param("zone: b", "zone: a\n", ["survive-zone-with-one-zone 24:zone 21:a"], id="one zone, and a zone to be lost"),
    pytest.param("slo: fast", "slo: fast\n      offerings: [one]", ["survive-zone-with-one-zone 14:[one] 24:zone"], id="a workload of one zone, and a zone to be lost"),
    pytest.param("price: {per_gpu", "tolerations: [{kee: x}], price: {per_gpu", ["bad-toleration 21:kee"], id="a toleration with an unknown field"),
    pytest.param("price: {per_gpu", "tolerations: [{effect: NoShedule}], price: {per_gpu", ["bad-toleration 21:NoShedule"], id="a toleration with an unknown effect"),
    pytest.param("basis: measured", "basis: measured\n        cancellation: 5%\n  gateway: {cancellation: false}", ["cancellation-not-propagated 19:5% 20:false"], id="cancellations that are not passed on"),
    pytest.param("basis: measured", "basis: measured\n        prefix: {hit_ratio: 30%}\n  gateway: {routing: {cache_locality: false}}", ["routing-defeats-prefix-cache 19:30% 20:false"], id="a router that scatters prefixes"),
    pytest.param("basis: measured", "basis: measured\n  gateway: {request_timeout: 10s}", ["timeout-below-slo 9:30s 19:10s"], id="a timeout below the SLO"),
]  # fmt: skip


def with_zones(text: str, wrong: str) -> str:
    """Ask for the loss of a zone in the cases that are about it."""
    return text + "  policy: {survive: [zone]}\n" if "zone: a\n" in wrong or "[one]" in wrong else text


def shown(text: str, span: Span) -> str:
    """Return the line of a span and what is underlined in it."""
    return f"{span.line}:{text.splitlines()[span.line - 1][span.column - 1 : span.end_column - 1]}"


@pytest.mark.parametrize(("good", "wrong", "expected"), BROKEN)
def test_a_broken_rule_is_told_at_its_places(
    good: str, wrong: str, expected: list[str], judge: Judge
) -> None:
    assert good in BASE
    text = with_zones(BASE.replace(good, wrong, 1), wrong)
    told = [
        " ".join([d.rule, *(shown(text, label.span) for label in d.labels if label.span)])
        for d in judge(text)
    ]
    assert sorted(told) == sorted(expected)


def test_the_base_breaks_no_rule(judge: Judge) -> None:
    assert judge(BASE) == []


def test_every_rule_has_a_case() -> None:
    cases = {told.split()[0] for case in BROKEN for told in case.values[2]}  # type: ignore[union-attr]
    assert cases == {check.rule.name for check in CHECKS}


def test_warnings_do_not_reject_a_file() -> None:
    file = load_spec(parse(SourceText("f", BASE.replace("measured", "guessed"))))
    assert [d.severity for d in check_spec(file)] == [Severity.WARNING]


def test_a_rejected_file_carries_its_warnings_too() -> None:
    text = BASE.replace("measured", "guessed").replace("peak: 24", "peak: 6")
    with pytest.raises(Rejected) as caught:
        load_spec(parse(SourceText("f", text)))
    assert [d.rule for d in caught.value.diagnostics] == ["peak-below-mean", "guessed-demand"]


def file_with(old: str, new: str) -> FleetFile:
    return load_spec(parse(SourceText("f", BASE.replace(old, new))))


@pytest.mark.parametrize(
    ("good", "fine"),
    [
        pytest.param("mean: 1155", "mean: 540", id="a mean just above what the median allows"),
        pytest.param("mean: 1155", "mean: 2510", id="a mean just below what the percentiles allow"),
        pytest.param("p50: 1020, p99: 4k", "p50: 10, p99: 20, max: 150k", id="a mean that a long maximum explains"),
        pytest.param("input: {mean: 1155, p50: 1020, p99: 4k}", "input: {mean: 1155, p50: 100}", id="a mean far above a lone median"),
        pytest.param("output: {p50: 129, p90: 424}", "output: {histogram: [[9, 0.333], [19, 0.667]]}", id="shares within rounding"),
        pytest.param("output: {p50: 129, p90: 424}", "output: {p50: 129, p90: 129}", id="equal percentiles"),
        pytest.param("p50: 300ms, p95: 800ms", "p50: 800ms, p95: 800ms", id="equal limits"),
        pytest.param("peak: 24", "peak: 8", id="a peak that equals the mean"),
        pytest.param("as_of: 2026-11-01", "as_of: 2026-11-24", id="a price of the day"),
        pytest.param(ONE, ONE.replace("price", "committed: {hosts: 8}, unit: {hosts: 4}, price"), id="everything committed"),
    ],
)  # fmt: skip
def test_what_is_just_allowed_is_not_told(good: str, fine: str) -> None:
    assert good in BASE
    assert check_spec(file_with(good, fine)) == ()
