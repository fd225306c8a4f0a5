"""The command line: what each command takes and prints. The work is imported when a command runs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="fleetc",
    help="The fleet compiler: models, SLOs, demand and GPUs in; a proven plan, manifests and engine configs out.",
    epilog="Exit codes: 0 done, 1 error, 2 something changed (with --check or --detailed-exitcode), 3 infeasible, 4 a limit does not hold.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


class Format(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


class Messages(StrEnum):
    """How diagnostics are printed."""

    TEXT = "text"
    JSON = "json"


Stack = Annotated[
    Path, typer.Argument(metavar="STACK", help="A stack's folder, or its fleet.yaml.", show_default=False)
]
PlanFormat = Annotated[Format, typer.Option("--format", help="How the review is printed.")]
Detailed = Annotated[bool, typer.Option("--detailed-exitcode", help="Exit with 2 when something changes.")]


def _version(wanted: bool) -> None:
    if wanted:
        from fleet.cli.version import version

        typer.echo(f"fleetc {version()}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The fleet compiler."""


@app.command(epilog="Example: fleetc init stacks/mine && fleetc compile stacks/mine")
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The new stack's folder.", show_default=False)
    ],
) -> None:
    """Write a commented starting fleet.yaml that compiles."""
    from fleet.cli.init import run as work

    work(folder)


@app.command(epilog="Example: fleetc check stacks/prod --format json")
def check(
    stack: Stack,
    format: Annotated[
        Messages, typer.Option("--format", help="How diagnostics are printed.")
    ] = Messages.TEXT,
) -> None:
    """Say what is wrong with a fleet file, and write nothing."""
    from fleet.cli.check import run as work

    work(stack, format is Messages.JSON)


@app.command(
    name="compile",
    epilog="Examples: fleetc compile stacks/prod; fleetc compile stacks/prod --check; fleetc compile stacks/prod --locked; fleetc compile stacks/prod --against main-plan.json --format markdown",
)
def compile_(
    stack: Stack,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 2 if the committed plan differs.")
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="PLAN",
            help="Review against this plan, and weigh churn against it.",
            show_default=False,
        ),
    ] = None,
    format: PlanFormat = Format.TEXT,
    time_limit: Annotated[
        float,
        typer.Option(
            "--time-limit",
            metavar="S",
            min=1,
            max=3600,
            help="Solver effort in seconds of deterministic work (not of the clock).",
        ),
    ] = 20.0,
    locked: Annotated[
        bool,
        typer.Option("--locked", help="Take the estimates from perf.lock.json alone; ask no backend."),
    ] = False,
    detailed_exitcode: Detailed = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")] = False,
) -> None:
    """Solve, verify, write plan.json and perf.lock.json, print the review."""
    from fleet.cli.compile import run as work

    raise typer.Exit(
        work(
            stack,
            check=check,
            against=against,
            format=format.value,
            effort_s=time_limit,
            detailed=detailed_exitcode,
            quiet=quiet,
            locked=locked,
        )
    )


@app.command(epilog="Example: fleetc verify stacks/prod")
def verify(stack: Stack) -> None:
    """Recompute every rule of the committed plan by arithmetic, and say whether it is stale."""
    from fleet.cli.verify import run as work

    work(stack)


@app.command(
    name="verify-bench",
    epilog="Exit codes: 0 every limit holds under the planned load, 4 a limit does not hold, 1 an error, or nothing can be said. "
    "Example: fleetc verify-bench stacks/prod result.json",
)
def verify_bench(
    stack: Stack,
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS...",
            help="Files of vLLM or SGLang benchmarks, AIPerf, or CSV.",
            show_default=False,
        ),
    ],
    deployment: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Which deployment all results are of.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare benchmark results with the plan: what holds, by how much not, and why it could be."""
    from fleet.cli.verify_bench import run as work

    raise typer.Exit(work(stack, results, deployment, json))


@app.command(epilog="Example: fleetc render stacks/prod --out build/gitops/prod")
def render(
    stack: Stack,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The GitOps tree's folder.", show_default=False)
    ],
) -> None:
    """Write the GitOps tree from the plan alone."""
    from fleet.cli.render import run as work

    work(stack, out)


@app.command(epilog="Example: fleetc diff old-plan.json stacks/prod --detailed-exitcode")
def diff(
    old: Annotated[
        Path, typer.Argument(metavar="OLD", help="A plan.json, or a stack's folder.", show_default=False)
    ],
    new: Annotated[
        Path, typer.Argument(metavar="NEW", help="A plan.json, or a stack's folder.", show_default=False)
    ],
    format: PlanFormat = Format.TEXT,
    detailed_exitcode: Detailed = False,
) -> None:
    """Compare two plans."""
    from fleet.cli.diff import run as work

    raise typer.Exit(work(old, new, format.value, detailed_exitcode))


@app.command(epilog="Examples: fleetc explain unknown-model; fleetc explain stacks/prod chat")
def explain(
    subject: Annotated[
        str, typer.Argument(metavar="RULE|STACK", help="A rule's name, or a stack.", show_default=False)
    ],
    workload: Annotated[
        str | None,
        typer.Argument(metavar="[WORKLOAD]", help="A workload of the stack.", show_default=False),
    ] = None,
) -> None:
    """Print a rule's page; or why a workload got its deployment, what was dropped, and what the runners-up would cost."""
    from fleet.cli.explain import run as work

    work(subject, workload)


@app.command(
    epilog="Examples: fleetc estimate --model llama-3.3-70b --accelerator h200-sxm --precision fp8 --tp 4 --isl 4000 --osl 500 --concurrency 32; "
    "the same with --compare, or with --rate 2 --limit ttft-p95=500ms --limit tpot-p95=40ms; "
    "fleetc estimate --model deepseek-r1 --accelerator gb200-nvl72 --engine trtllm --prefill 2xDP4EP4 --decode DP32EP32 --concurrency 1024; "
    "fleetc estimate --points points.csv --out priced.csv --calibration stacks/prod/calibration.json"
)
def estimate(
    model: Annotated[str | None, typer.Option(help="Catalogue id of the model.", show_default=False)] = None,
    accelerator: Annotated[
        str | None, typer.Option(help="Catalogue id of the accelerator.", show_default=False)
    ] = None,
    engine: Annotated[str, typer.Option(help="vllm, sglang or trtllm.")] = "vllm",
    precision: Annotated[
        str | None,
        typer.Option(help="Of the weights; the model's native one if left out.", show_default=False),
    ] = None,
    kv_cache: Annotated[str, typer.Option("--kv-cache", help="bf16 or fp8.")] = "bf16",
    tp: Annotated[int, typer.Option(min=1, help="Tensor parallelism.")] = 1,
    pp: Annotated[int, typer.Option(min=1, help="Pipeline parallelism.")] = 1,
    dp: Annotated[int, typer.Option(min=1, help="Attention data parallelism.")] = 1,
    ep: Annotated[int, typer.Option(min=1, help="Expert parallelism.")] = 1,
    prefill: Annotated[
        str | None,
        typer.Option(metavar="2xTP4", help="Prefill workers apart, with --decode.", show_default=False),
    ] = None,
    decode: Annotated[
        str | None,
        typer.Option(metavar="DP8EP8", help="Decode workers apart, with --prefill.", show_default=False),
    ] = None,
    isl: Annotated[float, typer.Option(min=1, help="Prompt tokens.")] = 1024,
    osl: Annotated[float, typer.Option(min=1, help="Answer tokens.")] = 1024,
    cached_prefix: Annotated[
        float, typer.Option("--cached-prefix", min=0, help="Prompt tokens found in the prefix cache.")
    ] = 0,
    draft_tokens: Annotated[
        int | None,
        typer.Option(
            "--draft-tokens", min=1, help="Speculative decoding: drafted a step.", show_default=False
        ),
    ] = None,
    acceptance: Annotated[
        float | None,
        typer.Option(min=1, help="Speculative decoding: tokens a step yields.", show_default=False),
    ] = None,
    concurrency: Annotated[float, typer.Option(min=1, help="Requests in flight (closed loop).")] = 1,
    batch_limit: Annotated[
        int | None,
        typer.Option(
            "--batch-limit",
            min=1,
            max=1_000_000,
            help="Requests that one worker runs at most.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Requests/s of an open loop: its percentiles too.", show_default=False),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ttft-p95=500ms",
            help="A limit (repeat it): the largest rate within all of them too.",
            show_default=False,
        ),
    ] = None,
    backends: Annotated[
        str, typer.Option(help="calibrated, or calibrated,silicon (needs the extra).")
    ] = "calibrated",
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Results of your own, from `fleetc calibrate`.", show_default=False
        ),
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Every backend side by side.")] = False,
    points: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Price every row of a table instead.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Where the priced table goes.", show_default=False),
    ] = None,
    format: Annotated[Messages, typer.Option("--format", help="How one point is printed.")] = Messages.TEXT,
) -> None:
    """Predict one point with its parts and error, compare backends, or price a table row by row."""
    from fleet.cli import estimate as work
    from fleet.cli.trouble import Stop
    from fleet.layout import ParallelismLayout

    if points is not None:
        work.run_table(points, out, backends, calibration)
        return
    if out is not None:
        raise Stop("--out is of a table", "add --points FILE.csv, or leave out --out")
    wanted = work.Wanted(
        model=model,
        accelerator=accelerator,
        engine=engine,
        precision=precision,
        kv_cache=kv_cache,
        layout=ParallelismLayout(tp=tp, pp=pp, dp=dp, ep=ep),
        prefill=prefill,
        decode=decode,
        isl=isl,
        osl=osl,
        cached_prefix=cached_prefix,
        concurrency=concurrency,
        batch_limit=batch_limit,
        draft_tokens=draft_tokens,
        acceptance=acceptance,
        rate=rate,
        limits=tuple(limit or ()),
    )
    work.run_point(wanted, backends, calibration, compare=compare, as_json=format is Messages.JSON)


@app.command(
    epilog="Examples: fleetc measure stacks/prod; fleetc measure stacks/prod --top 3 --json; "
    "fleetc measure stacks/prod --top 100"
)
def measure(
    stack: Stack,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="Runs that are shown.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the runs as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")] = False,
) -> None:
    """List the benchmark runs most worth making: what each costs, and what its outcome could save or change."""
    from fleet.cli.measure import run as work

    work(stack, top=top, as_json=as_json, quiet=quiet)


@app.command(
    epilog="Examples: fleetc calibrate stacks/prod results/*.json; fleetc calibrate stacks/prod run.jsonl --deployment chat-h100 --dry-run"
)
def calibrate(
    stack: Stack,
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS...",
            help="Benchmark results: vllm bench serve, SGLang bench_serving, AIPerf, GenAI-Perf, or a CSV table.",
            show_default=False,
        ),
    ],
    deployment: Annotated[
        str | None,
        typer.Option(
            "--deployment", metavar="ID", help="The deployment that was measured.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The calibration file, in place of the one that the stack names.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")] = False,
) -> None:
    """Correct the estimates by benchmark results of your own, and show what that changes in the plan."""
    from fleet.cli.calibrate import Asked
    from fleet.cli.calibrate import run as work

    raise typer.Exit(work(Asked(stack, tuple(results), deployment, out, dry_run, as_json, quiet)))


@app.command(epilog="Examples: fleetc catalog; fleetc catalog gb200-nvl72; fleetc catalog prices")
def catalog(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A section, or the id of a record.", show_default=False),
    ] = None,
    format: Annotated[Messages, typer.Option("--format", help="text or json.")] = Messages.TEXT,
) -> None:
    """Print the catalogue with its sources."""
    from fleet.cli.catalog import run as work

    work(name, format is Messages.JSON)


class Document(StrEnum):
    """What a JSON Schema describes."""

    SPEC = "spec"
    PLAN = "plan"


@app.command(epilog="Example: fleetc schema spec > fleet.schema.json")
def schema(document: Annotated[Document, typer.Argument(help="spec or plan.")] = Document.SPEC) -> None:
    """Print the JSON Schema of the fleet file or of the plan."""
    from fleet.cli.schema import run as work

    work(document.value)


def run() -> None:
    """The console script: every foreseen trouble becomes a message and an exit code, never a traceback."""
    from fleet.cli.trouble import guarded

    sys.exit(guarded(app))


if __name__ == "__main__":
    run()
