"""What the pipeline has to say about a file once the catalogue is beside it: one row for each rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet.catalog.load import load_catalog
from fleet.diagnostics import Diagnostic, Rejected, Severity
from fleet.pipeline.stack import OpenedStack, open_stack

BASE = """\
apiVersion: fleetc.dev/v1
kind: Fleet
metadata: {name: base}
spec:
  as_of: 2026-11-24
  models:
    m:
      card: llama-3.3-70b
      checkpoints:
        - {precision: bf16}
  slos:
    s:
      ttft: {p95: 1 s}
      tpot: {p95: 50ms}
  workloads:
    w:
      model: m
      slo: s
      demand:
        rate: {mean: 1 req/s, peak: 2 req/s}
        input: {mean: 1155, p50: 1020, p90: 2735, p99: 4142, max: 14050}
        output: 200
        basis: measured
  hardware:
    offerings:
      o:
        accelerator: h100-sxm
        provider: coreweave
        zone: z
        available: {hosts: 2}
        price: {per_gpu: $2/h, as_of: 2026-10-01}
  policy: {}
"""
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
FP8 = ("- {precision: bf16}", "- {precision: fp8}")
RACK = [("h100-sxm", "gb200-nvl72"), ("available: {hosts: 2}", "available: {racks: 2}")]

ROWS = [
    ("unknown-model-card", ERROR, "card", [("llama-3.3-70b", "llama-3.3-70")]),
    ("unreadable-model-config", ERROR, "hf_config", [("card: llama-3.3-70b", "hf_config: none.json")]),
    (
        "checkpoint-without-source",
        ERROR,
        "precision: nvfp4",
        [("llama-3.3-70b", "qwen3-8b"), ("- {precision: bf16}", "- {precision: nvfp4}")],
    ),
    (
        "no-permitted-checkpoint",
        ERROR,
        "m:",
        [FP8, ("policy: {}", "policy: {precisions: {quality_record: required}}")],
    ),
    ("low-precision-without-quality-record", WARNING, "precision: fp8", [FP8]),
    (
        "quality-below-floor",
        WARNING,
        "precision: fp8",
        [
            (
                "- {precision: bf16}",
                "- {precision: bf16}\n        - {precision: fp8, quality: {benchmark: b, baseline: 0.8, score: 0.7, source: ours}}",
            )
        ],
    ),
    (
        "precision-not-allowed",
        WARNING,
        "precision: fp8",
        [
            ("- {precision: bf16}", "- {precision: bf16}\n        - {precision: fp8}"),
            ("policy: {}", "policy: {precisions: {allowed: [bf16]}}"),
        ],
    ),
    ("checkpoint-from-catalogue", INFO, "m:", [("      checkpoints:\n        - {precision: bf16}\n", "")]),
    (
        "acceptance-length-unknown",
        ERROR,
        "speculative",
        [("      checkpoints:", "      speculative: {method: eagle3, draft_tokens: 3}\n      checkpoints:")],
    ),
    (
        "acceptance-length-from-catalogue",
        WARNING,
        "speculative",
        [
            ("llama-3.3-70b", "kimi-k2.5"),
            ("- {precision: bf16}", "- {precision: nvfp4}"),
            (
                "      checkpoints:",
                "      speculative: {method: eagle3, draft_tokens: 3}\n      checkpoints:",
            ),
        ],
    ),
    (
        "no-engine-for-model",
        ERROR,
        "engines",
        [("      checkpoints:", "      engines: [sglang]\n      checkpoints:")],
    ),
    ("unknown-accelerator", ERROR, "accelerator", [("h100-sxm", "h100")]),
    (
        "unknown-machine-type",
        ERROR,
        "machine_type",
        [("        zone: z", "        zone: z\n        machine_type: a3-megagpu-8g")],
    ),
    ("amount-in-wrong-unit", ERROR, "racks: 2", [("available: {hosts: 2}", "available: {racks: 2}")]),
    (
        "price-not-in-catalogue",
        ERROR,
        "price",
        [("{per_gpu: $2/h, as_of: 2026-10-01}", "{catalog: flex-start}")],
    ),
    (
        "cooling-does-not-fit",
        ERROR,
        "cooling",
        [*RACK, ("        zone: z", "        zone: z\n        cooling: air")],
    ),
    ("racks-of-hosts-unknown", WARNING, "o:", [("policy: {}", "policy: {survive: [rack]}")]),
    ("price-past-its-use-by-date", WARNING, "price", [("2026-10-01", "2026-01-01")]),
    ("context-too-long-for-model", ERROR, "max: 14050", [("max: 14050", "max: 140500")]),
    (
        "max-context-above-model",
        ERROR,
        "max_context",
        [("      checkpoints:", "      max_context: 200000\n      checkpoints:")],
    ),
    (
        "lengths-from-mean-alone",
        WARNING,
        "input",
        [("{mean: 1155, p50: 1020, p90: 2735, p99: 4142, max: 14050}", "{mean: 1155}")],
    ),
    ("itl-planned-as-tpot", WARNING, "itl", [("tpot: {p95: 50ms}", "itl: {p95: 50ms}")]),
    ("peak-assumed-equal-to-mean", INFO, "rate", [("{mean: 1 req/s, peak: 2 req/s}", "2 req/s")]),
]


def written(folder: Path, edits: list[tuple[str, str]]) -> Path:
    text = BASE
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "fleet.yaml").write_text(text)
    return folder


def found_in(stack: Path) -> list[Diagnostic]:
    try:
        return list(open_stack(stack, load_catalog()).diagnostics)
    except Rejected as rejected:
        return list(rejected.diagnostics)


def test_the_base_file_is_clean(tmp_path: Path) -> None:
    assert found_in(written(tmp_path, [])) == []


@pytest.mark.parametrize(("rule", "severity", "line_has", "edits"), ROWS, ids=[row[0] for row in ROWS])
def test_a_rule_is_told_at_its_line(
    tmp_path: Path, rule: str, severity: Severity, line_has: str, edits: list[tuple[str, str]]
) -> None:
    found = found_in(written(tmp_path, edits))
    [diagnostic] = [d for d in found if d.rule == rule]
    assert diagnostic.severity is severity
    assert diagnostic.help
    assert diagnostic.span is not None
    assert line_has in (tmp_path / "fleet.yaml").read_text().splitlines()[diagnostic.span.line - 1]


def test_every_error_of_the_stage_comes_in_one_run(tmp_path: Path) -> None:
    edits = [("llama-3.3-70b", "llama-3.3-70"), ("accelerator: h100-sxm", "accelerator: h100")]
    assert {d.rule for d in found_in(written(tmp_path, edits))} == {
        "unknown-model-card",
        "unknown-accelerator",
    }


def opened(tmp_path: Path, *edits: tuple[str, str]) -> OpenedStack:
    return open_stack(written(tmp_path, list(edits)), load_catalog())


def test_growth_and_retries_are_on_top_of_the_peak(tmp_path: Path) -> None:
    workload = opened(
        tmp_path, ("basis: measured", "growth: 50%\n        retries: 4%\n        basis: measured")
    ).fleet.workloads["w"]
    assert workload.peak_req_per_s == 2
    assert workload.planning_req_per_s == pytest.approx(2 * 1.5 * 1.04)


def test_the_busiest_hour_is_planned_for(tmp_path: Path) -> None:
    hours = ", ".join(["1"] * 23 + ["7"])
    workload = opened(tmp_path, ("{mean: 1 req/s, peak: 2 req/s}", f"{{hourly: [{hours}]}}")).fleet.workloads[
        "w"
    ]
    assert workload.peak_req_per_s == 7
    assert workload.mean_req_per_s == pytest.approx(30 / 24)


def test_attainment_raises_the_quantile_that_is_planned(tmp_path: Path) -> None:
    workload = opened(
        tmp_path, ("tpot: {p95: 50ms}", "tpot: {p50: 50ms}\n      attainment: 99%")
    ).fleet.workloads["w"]
    assert [(t.metric, t.quantile) for t in workload.targets] == [("ttft", 99), ("tpot", 99)]


def test_the_prefix_cache_counts_only_where_routing_keeps_locality(tmp_path: Path) -> None:
    hits = ("basis: measured", "prefix: {hit_ratio: 40%, shared_tokens: 100}\n        basis: measured")
    near = opened(tmp_path, hits).fleet.workloads["w"].load
    far = (
        opened(tmp_path, hits, ("policy: {}", "policy: {}\n  gateway: {routing: {cache_locality: false}}"))
        .fleet.workloads["w"]
        .load
    )
    assert near.cached_prefix_fraction == pytest.approx(0.4)
    assert far.cached_prefix_fraction == pytest.approx(100 / 1155, rel=0.02)


def test_a_rack_keeps_its_spare_trays_and_pays_for_them(tmp_path: Path) -> None:
    offering = opened(tmp_path, *RACK).fleet.offerings["o"]
    assert offering.usable_domain_gpus == 68
    assert offering.usd_per_unit_hour == pytest.approx(144)
    assert offering.place.usd_per_usable_gpu_hour == pytest.approx(144 / 68)


def test_a_trace_gives_lengths_rate_and_burstiness(tmp_path: Path) -> None:
    rows = [
        f"2023-11-16 18:{m:02d}:{s:02d}.0000000,{100 + s},{10 + m}" for m in range(3) for s in range(0, 60, 2)
    ]
    (tmp_path / "t.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows) + "\n")
    edits = (
        ("rate: {mean: 1 req/s, peak: 2 req/s}", "trace: {path: t.csv, scale: 10}"),
        (
            "        input: {mean: 1155, p50: 1020, p90: 2735, p99: 4142, max: 14050}\n        output: 200\n",
            "",
        ),
    )
    stack = opened(tmp_path, *edits)
    workload = stack.fleet.workloads["w"]
    assert workload.peak_req_per_s == pytest.approx(5.0, rel=0.1)
    assert workload.input.mean == pytest.approx(129, rel=0.01)
    assert workload.max_context >= 159 + 12
    assert set(stack.file_digests) == {"t.csv"}


def test_a_hugging_face_config_stands_in_for_a_card(tmp_path: Path) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    edits = (
        ("card: llama-3.3-70b", "hf_config: config.json"),
        ("{precision: bf16}", "{precision: bf16, uri: hf://me/mine}"),
    )
    model = opened(tmp_path, *edits).fleet.models["m"]
    assert model.card.total_params == pytest.approx(8.03e9, rel=0.01)
    assert model.card_name == "hf:config.json"
