"""What `fleetc estimate` prints: a point's parts in milliseconds, its interval, and backends side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.perf.closed_loop import Loop, LoopResult, closed_loops
from fleet.perf.interface import PerformanceModel, Unsupported
from fleet.perf.rounding import six
from fleet.units import format_bytes, format_ms, format_share, format_tokens

INTERFERENCE, WAITING = "interference", "waiting"
LEAST_SHARE = 0.0005
"""Parts below this are not shown."""


def tpot_parts_ms(result: LoopResult) -> dict[str, float]:
    """Return the parts of TPOT: those of the decode step, and what prefills beside it add."""
    step = min(result.decode.decode_step_ms, result.tpot_ms)
    parts = {name: six(share * step) for name, share in result.decode.decode_shares.items()}
    return parts | {INTERFERENCE: six(max(result.tpot_ms - step, 0.0))}


def ttft_parts_ms(result: LoopResult) -> dict[str, float]:
    """Return the parts of TTFT: those of a prefill alone, and the waiting for others, steps and a free slot."""
    alone = min(result.prefill.prefill_latency_ms + result.prefill.constant_ms, result.ttft_ms)
    parts = {name: six(share * alone) for name, share in result.prefill.prefill_shares.items()}
    return parts | {WAITING: six(max(result.ttft_ms - alone, 0.0))}


def interval_ms(value: float, error_p90: float) -> list[float]:
    """Return the interval that holds 90 % of measurements, by the error of cross-validation."""
    return [six(value / (1.0 + error_p90)), six(value * (1.0 + error_p90))]


def per_gpu(loop: Loop, result: LoopResult) -> float:
    """Return output tokens per second and GPU."""
    return six(result.output_tok_per_s(loop.osl) / loop.replica.gpus)


def facts_of(loop: Loop, result: LoopResult, floor: LoopResult) -> dict[str, Any]:
    """Return a point as JSON values; times are milliseconds."""
    decode, prefill = result.decode, result.prefill
    return {
        "gpus": loop.replica.gpus,
        "ttft_ms_mean": six(result.ttft_ms),
        "ttft_ms_interval_p90": interval_ms(result.ttft_ms, prefill.ttft_relative_error_p90),
        "ttft_parts_ms": ttft_parts_ms(result),
        "tpot_ms_mean": six(result.tpot_ms),
        "tpot_ms_interval_p90": interval_ms(result.tpot_ms, decode.relative_error_p90),
        "tpot_parts_ms": tpot_parts_ms(result),
        "output_tok_per_s_per_gpu": per_gpu(loop, result),
        "rate_req_per_s": six(result.rate_req_per_s),
        "batch_per_worker": six(result.batch),
        "decode_step_ms": decode.decode_step_ms,
        "decode_step_floor_ms": floor.decode.decode_step_ms,
        "decode_bound": decode.decode_bound.value,
        "decode_shares": decode.decode_shares,
        "prefill_ms": prefill.prefill_ms,
        "prefill_floor_ms": floor.prefill.prefill_ms,
        "prefill_bound": prefill.prefill_bound.value,
        "prefill_shares": prefill.prefill_shares,
        "interference_ms": prefill.interference_ms,
        "constant_ms": prefill.constant_ms,
        "weight_bytes_per_gpu": decode.weight_bytes_per_gpu,
        "kv_capacity_tokens": decode.kv_capacity_tokens,
        "relative_error_p90": decode.relative_error_p90,
        "ttft_relative_error_p90": prefill.ttft_relative_error_p90,
        "backend": decode.provenance.backend,
        "version": decode.provenance.version,
        "basis": decode.provenance.basis.value,
        "note": decode.provenance.note,
    }


def heading(loop: Loop) -> str:
    """Return what is estimated, in two lines."""
    decoder, replica = loop.replica.decoder, loop.replica
    layout = decoder.layout.label
    if replica.is_disaggregated:
        layout = f"{replica.prefill_workers} prefill {replica.prefiller.layout.label} and {replica.decode_workers} decode {layout}"
    engine, cached = decoder.engine, f", {loop.cached_prefix:g} of them cached" if loop.cached_prefix else ""
    return (
        f"{decoder.model.name} {decoder.weights.value} as {layout} on {replica.gpus} x {decoder.accelerator.name}, {engine.name} {engine.version}\n"
        f"{loop.isl:g} prompt{cached} and {loop.osl:g} answer tokens, {loop.concurrency:g} requests in flight (closed loop)\n\n"
    )


def point_text(loop: Loop, result: LoopResult, floor: LoopResult) -> str:
    """Return a point with its parts, intervals, bound, backend and memory."""
    decode, prefill, origin = result.decode, result.prefill, result.decode.provenance
    note = f"\n              {origin.note}" if origin.note else ""
    return (
        heading(loop)
        + f"  TTFT        mean {format_ms(result.ttft_ms)}{_interval(result.ttft_ms, prefill.ttft_relative_error_p90)}\n"
        + _parts(ttft_parts_ms(result))
        + f"  TPOT        mean {format_ms(result.tpot_ms)}{_interval(result.tpot_ms, decode.relative_error_p90)}\n"
        + _parts(tpot_parts_ms(result))
        + f"  throughput  {per_gpu(loop, result):,.0f} output tokens/s for each GPU, {result.rate_req_per_s:.3g} requests/s\n"
        + f"  decode step {format_ms(decode.decode_step_ms)} of {result.batch:.4g} requests (physical floor {format_ms(floor.decode.decode_step_ms)}), bound by {decode.decode_bound.value}\n"
        + f"  prefill     {format_ms(prefill.prefill_ms)} a request (physical floor {format_ms(floor.prefill.prefill_ms)}), bound by {prefill.prefill_bound.value}\n"
        + f"  memory      {format_bytes(decode.weight_bytes_per_gpu)} of weights on each GPU, KV cache for {format_tokens(decode.kv_capacity_tokens)} tokens\n"
        + f"  backend     {origin.backend} {origin.version}, {origin.basis.value}{note}\n"
    )


def _interval(value: float, error_p90: float) -> str:
    low, high = interval_ms(value, error_p90)
    return f"  (90 % within {format_ms(low)} to {format_ms(high)}, 90 % error +- {format_share(error_p90)})"


def _parts(parts_ms: Mapping[str, float]) -> str:
    total = sum(parts_ms.values())
    shown = sorted(parts_ms.items(), key=lambda part: (-part[1], part[0]))
    return "".join(
        f"    {name:<14} {format_ms(ms):>10} {format_share(ms / total):>8}\n"
        for name, ms in shown
        if ms >= LEAST_SHARE * total
    )


def open_loop_text(rows: list[dict[str, Any]]) -> str:
    """Return the percentiles of an open loop as a table; nothing where none was asked for."""
    lines = []
    for row in rows:
        lines.append(
            f"\n  {row['rate_req_per_s']:.4g} requests/s, {row['what']} (open loop, Poisson arrivals)"
        )
        lines.append("              " + "".join(f"{q:>12}" for q in ("p50", "p90", "p95", "p99")))
        for metric in ("ttft", "tpot", "e2e"):
            figures = "".join(f"{format_ms(value):>12}" for value in row[f"{metric}_ms"].values())
            lines.append(f"    {metric.upper():<10}{figures}")
    return "\n".join(lines) + "\n" if lines else ""


def side_by_side(loop: Loop, models: Mapping[str, PerformanceModel | str]) -> list[dict[str, Any]]:
    """Return every backend's figures of a loop, or why it has none."""
    rows: list[dict[str, Any]] = []
    for name, model in models.items():
        if isinstance(model, str):
            rows.append({"backend": name, "missing": model})
            continue
        result = closed_loops(model, [loop])[0]
        if isinstance(result, Unsupported):
            rows.append({"backend": name, "missing": f"{result.reason}: {result.detail}"})
            continue
        origin = result.decode.provenance
        rows.append(
            {
                "backend": name,
                "ttft_ms_mean": six(result.ttft_ms),
                "tpot_ms_mean": six(result.tpot_ms),
                "output_tok_per_s_per_gpu": per_gpu(loop, result),
                "decode_step_ms": result.decode.decode_step_ms,
                "prefill_ms": result.prefill.prefill_ms,
                "decode_bound": result.decode.decode_bound.value,
                "relative_error_p90": result.decode.relative_error_p90,
                "ttft_relative_error_p90": result.prefill.ttft_relative_error_p90,
                "priced_by": origin.backend,
                "version": origin.version,
                "basis": origin.basis.value,
                "note": origin.note,
            }
        )
    return rows


def compared_text(loop: Loop, rows: list[dict[str, Any]]) -> str:
    """Return the backends side by side, and below the table why some are missing and what the others note."""
    head = ("TTFT", "TPOT", "step", "prefill", "tok/s GPU", "error")
    lines = [f"  {'backend':<20}" + "".join(f"{name:>11}" for name in head) + "  bound, basis"]
    below = []
    for row in rows:
        if "missing" in row:
            below.append(f"  {row['backend']}: {row['missing']}")
            continue
        times = (row["ttft_ms_mean"], row["tpot_ms_mean"], row["decode_step_ms"], row["prefill_ms"])
        figures = "".join(f"{format_ms(ms):>11}" for ms in times)
        figures += f"{row['output_tok_per_s_per_gpu']:>11,.0f}"
        is_floor = row["basis"] == "floor"
        figures += f"{'none' if is_floor else format_share(row['relative_error_p90']):>11}"
        lines.append(f"  {row['backend']:<20}{figures}  {row['decode_bound']}, {row['basis']}")
        if row["note"]:
            below.append(f"  {row['backend']}: {row['note']}")
    lines.append(
        "\n  error: 90 % of measured TPOT lie within a factor 1 + error, either way, in cross-validation"
    )
    return heading(loop) + "\n".join([*lines, *below]) + "\n"
