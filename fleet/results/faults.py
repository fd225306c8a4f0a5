"""What can be wrong with a file of benchmark results: its rules, as `fleetc explain` prints them."""

from __future__ import annotations

from fleet.diagnostics import Severity, register

UNREADABLE = register(
    "unreadable-results-file",
    what="A file of benchmark results is missing, empty, larger than 256 MiB, or no text.",
    why="Nothing can be learnt from it, and a result that is left out without a word would look like one that agrees.",
    fix="Give the file that the benchmark tool wrote, as it wrote it.",
)
BROKEN = register(
    "broken-results-file",
    what="A file of benchmark results is not whole: its JSON ends too early or is no JSON, or a row of its table has too many or too few values.",
    why="A file that was cut off while it was written may lack the very figures that matter.",
    fix="Run the benchmark again, or copy its file again without cutting it.",
)
UNKNOWN_FORMAT = register(
    "unknown-results-format",
    what="A file is none of the results that are read: `vllm bench serve --save-result`, SGLang `bench_serving`, AIPerf and GenAI-Perf exports, or a CSV with the columns of a benchmark table.",
    why="Guessing which number is the latency would calibrate the plan on something else.",
    fix="Give the summary that one of these tools writes, or a CSV with the columns model, gpu, engine, mode, parallelism, precision, isl, osl, concurrency_or_batch, ttft_ms and tpot_ms.",
)
MISSING_FIGURE = register(
    "missing-figure",
    what="A benchmark result lacks a figure that is needed: lengths, the number of requests, TTFT or TPOT.",
    why="TTFT and TPOT are only measured with streaming; without lengths nobody knows what was measured.",
    fix="Run the benchmark with streaming on and answers of more than one token, and keep the file as the tool wrote it.",
)
IMPOSSIBLE_FIGURE = register(
    "impossible-figure",
    what="A figure of a benchmark result is no number, not finite, negative, or zero where it cannot be.",
    why="One such figure would spoil every prediction of its deployment.",
    fix="Run the benchmark again; a figure that is not finite mostly means that no request finished.",
)
NOTHING_COMPLETED = register(
    "no-requests-completed",
    what="A benchmark run completed no request.",
    why="Its latencies are of nothing.",
    fix="Look into the server's log, mend it, and run the benchmark again.",
)
REQUESTS_FAILED = register(
    "benchmark-requests-failed",
    what="More than 2 % of a benchmark's requests failed; more than 5 % is an error.",
    why="Requests that fail leave the others more room: what is left looks faster than it is.",
    fix="Run the benchmark again once no request fails.",
)
CANCELLED = register(
    "benchmark-was-cancelled",
    what="A benchmark run was cancelled before its end.",
    why="What was measured until then is mostly the beginning, which is no steady load.",
    fix="Run the benchmark to its end.",
)
CONTRADICTION = register(
    "contradictory-figures",
    what="Figures of one benchmark result cannot all be right: quantiles out of order, a throughput that is not the requests over the duration, or more requests in flight than the run allowed.",
    why="The file was edited, or joined from two runs; which of its figures is wrong cannot be told.",
    fix="Give the file as the tool wrote it, or run the benchmark again.",
)
SHORT = register(
    "benchmark-too-short",
    severity=Severity.WARNING,
    what="A benchmark run has fewer than three requests for each one in flight.",
    why="Most of it is the first burst and the end, when fewer requests run: TTFT is too high and TPOT too low for a steady load.",
    fix="Run at least five to ten requests for each one in flight.",
)
