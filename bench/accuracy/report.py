"""The tables of a run as Markdown: printed and written to docs/explanation/accuracy.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from calibration.bars import Coverage

from accuracy.ablation import Ablation
from accuracy.aiconfigurator import Comparison
from accuracy.ambiguous import Ambiguous
from accuracy.decisions import MISSED_AT_MOST, ORDER_AT_LEAST, REGRET_AT_MOST, Choices, Order
from accuracy.noise import Noise
from accuracy.public_points import Domains, Figure
from accuracy.scores import METRICS, TITLES, Scored, outcome, verdict

INTERPOLATION, UNSEEN = (86.0, 94.0), (75.0, 98.0)
"""Coverage of a 90 % interval, per cent, that is aimed at."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def counts(mixed: int, disaggregated: int, left_out: Mapping[str, int]) -> str:
    """Return how many rows there are and how many each rule leaves out."""
    text = f"{mixed} aggregated and {disaggregated} disaggregated rows are fitted and scored. Left out, by rule:\n\n"
    return text + table(["rule", "rows"], [(reason, str(n)) for reason, n in sorted(left_out.items())])


def targets(cross_validations: Sequence[Scored]) -> str:
    """Return the targets with the figures reached."""
    rows = []
    for target, figures in outcome(cross_validations):
        aims = {"tpot": target.tpot, "throughput": target.throughput, "ttft": target.ttft}
        cells = [f"{figures[m].mean:.1f}, {verdict(figures[m].mean, aims[m])}" for m in METRICS]
        note = "" if target.rows == "all" else f"; TTFT: {target.rows}"
        rows.append((f"{target.left_out}; {target.of_class}{note}", str(figures["tpot"].rows), *cells))
    return table(["left out", "rows", *(TITLES[m] for m in METRICS)], rows)


def errors(cross_validation: Scored) -> str:
    """Return one cross-validation by class."""
    rows = [
        (line.name, str(line.figures["tpot"].rows), *(str(line.figures[m]) for m in METRICS))
        for line in cross_validation.lines
    ]
    return table(["class", "rows", *(TITLES[m] for m in METRICS)], rows)


def ambiguous(found: Ambiguous) -> str:
    """Return the errors of rows with several labels, without a target."""
    rows = [
        (name, str(each["tpot"].rows), *(str(each[m]) for m in METRICS))
        for name, each in (
            ("mixture of the labels", found.mixture),
            ("label that fits best, with hindsight", found.nearest),
        )
    ]
    return table(["prediction", "rows", *(TITLES[m] for m in METRICS)], rows)


def noise(floors: Sequence[Noise]) -> str:
    """Return the noise floor."""
    rows = [
        (n.name, str(n.situations), str(n.pairs), *(f"{a:.1f} / {b:.0f}" for a, b in (n.tpot, n.ttft)))
        for n in floors
    ]
    return table(["repeats", "situations", "pairs", "TPOT, median / 90 %", "TTFT, median / 90 %"], rows)


def decisions(name: str, found: Sequence[Order], made: Sequence[Choices]) -> str:
    """Return the order of options and layouts, and the choices by planned quantile."""
    ranks = [
        (
            f"{name}, order of {o.name}", str(o.groups), str(o.comparisons),
            f"{o.mean:.3f}, {'met' if o.mean >= ORDER_AT_LEAST else 'missed'} ({ORDER_AT_LEAST:g})", f"{o.median:.3f}",
        )
        for o in found
    ]  # fmt: skip
    rows = [
        (
            f"{name}, planned on {c.quantile:g}", str(c.choices), f"{c.regret:.1f}, {verdict(c.regret, REGRET_AT_MOST)}",
            f"{c.regret_by_error:.1f}", f"{c.missed:.1f}, {verdict(c.missed, MISSED_AT_MOST)}", f"{c.missed_by_median:.1f}",
            f"{c.without:.0f}",
        )
        for c in made
    ]  # fmt: skip
    header = [
        "choices", "number", "mean regret, %", "against a perfect predictor as cautious, %", "SLO missed, %",
        "missed by (median), %", "no choice, %",
    ]  # fmt: skip
    return table(["Spearman", "groups", "orders", "mean", "median"], ranks) + "\n" + table(header, rows)


def coverage(groups: Mapping[str, Sequence[Coverage]]) -> str:
    """Return the coverage of the 90 % interval: all, then each group."""
    aims = {"lengths": INTERPOLATION, "groups": UNSEEN}
    rows = []
    for name, found in groups.items():
        share = np.array([100.0 * c.covered for c in found])
        over_rows = float(np.average(share, weights=[c.rows for c in found]))
        least, most = aims[name.split(",")[0]]
        held = "met" if least <= share.mean() <= most else "missed"
        worst = min(found, key=lambda c: (c.covered, c.group))
        rows.append(
            (
                name, str(len(found)), f"{share.mean():.1f}, {held} ({least:g} to {most:g})", f"{over_rows:.1f}",
                f"{(share < 50).mean() * 100:.0f}", f"{worst.group.replace('|', ' · ')}: {100 * worst.covered:.0f}",
            )
        )  # fmt: skip
    header = [
        "left out, metric",
        "groups",
        "mean over groups, %",
        "over rows, %",
        "groups under half, %",
        "worst group, %",
    ]
    return table(header, rows)


def coverage_groups(lengths: Sequence[Coverage], groups: Sequence[Coverage]) -> str:
    """Return the coverage of TPOT group by group."""
    by_name = {c.group: c for c in lengths}
    rows = []
    for c in groups:
        near = by_name.get(c.group)
        inside = f"{100 * near.covered:.0f}" if near else ""
        rows.append((c.group.replace("|", " · "), str(c.rows), inside, f"{100 * c.covered:.0f}"))
    return table(["group", "rows", "lengths left out, %", "group left out, %"], rows)


def ablations(found: Sequence[Ablation]) -> str:
    """Return what every part is worth."""
    full = found[0]
    rows = [
        (
            a.name, str(a.rows),
            *(f"{x:.1f} ({x - y:+.1f})" if a is not full else f"{x:.1f}" for x, y in (
                (a.lengths, full.lengths), (a.concurrency, full.concurrency), (a.groups, full.groups),
            )),
        )
        for a in found
    ]  # fmt: skip
    return table(["switched off", "rows", "lengths", "top third of concurrency", "groups"], rows)


def comparison(found: Sequence[Comparison]) -> str:
    """Return AIConfigurator's errors beside ours."""
    rows = []
    for c in found:
        cells = [f"{c.theirs[m].mean:.1f} / {c.ours[m].mean:.1f}" for m in METRICS]
        rows.append(
            (c.name, str(c.ours["tpot"].rows), str(c.refused), *cells, "yes" if c.is_better else "**no**")
        )
    header = [
        "class",
        "rows",
        "no answer",
        *(f"{TITLES[m]}, theirs / ours" for m in METRICS),
        "ours better in all",
    ]
    return table(header, rows)


def public(runs: Sequence[Figure], domains: Sequence[Domains]) -> str:
    """Return public figures beside their predictions."""
    names = {
        "ttft_ms": "TTFT, ms", "tpot_ms": "TPOT, ms", "output_tok_per_s": "output tokens/s",
        "total_tok_per_s_per_gpu": "total tokens/s per GPU",
    }  # fmt: skip

    def line(figure: Figure, prefix: str = "") -> tuple[str, ...]:
        low, high = figure.predicted / (1.0 + figure.error_p90), figure.predicted * (1.0 + figure.error_p90)
        return (
            f"{prefix}{figure.name}", names[figure.metric], f"{figure.public:,.4g}", f"{figure.predicted:,.4g}",
            f"{low:,.4g} to {high:,.4g}", "yes" if figure.is_within else "**no**",
        )  # fmt: skip

    rows = [line(f) for f in runs]
    for d in domains:
        prefix = f"DeepSeek-R1 FP4, {d.name} ({d.user_tok_per_s:.0f} tokens/s a user): "
        rows += [line(d.host, prefix), line(d.rack, prefix)]
    return table(["point", "figure", "public", "predicted", "90 % interval", "within"], rows)
