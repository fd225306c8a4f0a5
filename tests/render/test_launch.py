"""Launch commands: what each layout becomes, that hostile words stay words, and that every flag is real."""

from __future__ import annotations

import json
import shlex
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.layout import ParallelismLayout, Precision, Role
from fleet.plan.document import Deployment, Target, WorkerGroup
from fleet.render.engines import templates
from fleet.render.engines.checkpoint import read_checkpoint
from fleet.render.engines.launch import Launch, dynamo_frontend_launch, dynamo_worker_launch, serve_launch
from fleet.render.errors import UnrenderablePlan
from tests.plan_parts import ENGINES, group
from tests.plans import prod_plan
from tests.render.reading import deployment_of, shared

CHECKPOINT = read_checkpoint("hf://Qwen/Qwen3-32B")


def _deployment(**update: Any) -> Deployment:
    return deployment_of(prod_plan(), "chat-h100-east").model_copy(update=update)


def _workers(
    layout: ParallelismLayout,
    host_gpus: int = 8,
    seqs: int = 256,
    tokens: int = 8192,
    role: Role = Role.MIXED,
) -> WorkerGroup:
    return group(role, layout, 1, host_gpus, seqs, tokens, 60.0)


def _serve(
    layout: ParallelismLayout, host_gpus: int = 8, *, is_follower: bool = False, **update: Any
) -> Launch:
    return serve_launch(
        _deployment(**update), _workers(layout, host_gpus), "qwen", CHECKPOINT, 300, is_follower=is_follower
    )


def _flags(launch: Launch) -> dict[str, str]:
    """Flags of a command line with their values; switches have none."""
    words, found = list(launch.argv), {}
    for number, word in enumerate(words):
        if word.startswith("--"):
            following = words[number + 1] if number + 1 < len(words) else "--"
            found[word] = "" if following.startswith("--") else following
    return found


@pytest.mark.parametrize(
    ("layout", "host_gpus", "expected", "absent"),
    [
        pytest.param(
            ParallelismLayout(tp=4),
            8,
            {"--tensor-parallel-size": "4"},
            ["--data-parallel-size", "--enable-expert-parallel", "--nnodes"],
            id="dense on one host",
        ),
        pytest.param(
            ParallelismLayout(tp=4, pp=2),
            8,
            {"--pipeline-parallel-size": "2"},
            ["--nnodes"],
            id="pipeline stages on one host",
        ),
        pytest.param(
            ParallelismLayout(dp=8, ep=8),
            8,
            {
                "--data-parallel-size": "8",
                "--enable-expert-parallel": "",
                "--max-num-seqs": "32",
                "--max-num-batched-tokens": "1024",
            },
            ["--data-parallel-hybrid-lb"],
            id="attention DP on one host divides the batch limits by rank",
        ),
        pytest.param(
            ParallelismLayout(tp=8, ep=8),
            8,
            {"--tensor-parallel-size": "8", "--enable-expert-parallel": ""},
            ["--data-parallel-size"],
            id="experts over tensor-parallel ranks",
        ),
        pytest.param(
            ParallelismLayout(tp=8),
            4,
            {
                "--nnodes": "2",
                "--node-rank": "$(LWS_WORKER_INDEX)",
                "--master-addr": "$(LWS_LEADER_ADDRESS)",
                "--distributed-executor-backend": "mp",
            },
            ["--headless"],
            id="dense over two trays",
        ),
        pytest.param(
            ParallelismLayout(dp=32, ep=32),
            4,
            {
                "--data-parallel-size": "32",
                "--data-parallel-size-local": "4",
                "--data-parallel-start-rank": "$((LWS_WORKER_INDEX * 4))",
                "--data-parallel-hybrid-lb": "",
            },
            ["--nnodes", "--headless"],
            id="wide expert parallelism over eight trays",
        ),
        pytest.param(
            ParallelismLayout(tp=2, dp=8, ep=16),
            4,
            {"--data-parallel-size-local": "2", "--tensor-parallel-size": "2"},
            [],
            id="two GPUs for each attention rank over four trays",
        ),
    ],
)
def test_a_layout_becomes_flags(
    layout: ParallelismLayout, host_gpus: int, expected: dict[str, str], absent: list[str]
) -> None:
    flags = _flags(_serve(layout, host_gpus))
    assert flags.items() >= expected.items()
    assert not set(absent) & set(flags)


def test_followers_of_a_worker_without_attention_dp_are_headless() -> None:
    leader, follower = (
        _serve(ParallelismLayout(tp=8), 4, is_follower=is_follower) for is_follower in (False, True)
    )
    assert set(follower.argv) - set(leader.argv) == {"--headless"}


def test_prefix_caching_is_on_everywhere() -> None:
    assert "--enable-prefix-caching" in _serve(ParallelismLayout(tp=2)).argv
    for role in (Role.PREFILL, Role.DECODE):
        launch = dynamo_worker_launch(
            _deployment(engine=ENGINES["dynamo"]),
            _workers(ParallelismLayout(tp=2), role=role),
            "qwen",
            CHECKPOINT,
            publishes_kv_events=True,
        )
        assert "--enable-prefix-caching" in launch.argv


def test_an_fp8_kv_cache_and_a_draft_are_asked_for() -> None:
    draft = {"method": "eagle3", "draft_tokens": 3, "acceptance_length": 2.6, "draft_model": "org/draft"}
    flags = _flags(_serve(ParallelismLayout(tp=2), kv_cache=Precision.FP8, speculative=draft))
    assert flags["--kv-cache-dtype"] == "fp8"
    assert json.loads(flags["--speculative-config"]) == {
        "method": "eagle3",
        "num_speculative_tokens": 3,
        "model": "org/draft",
    }


@pytest.mark.parametrize(
    ("layout", "host_gpus", "said"),
    [
        pytest.param(ParallelismLayout(dp=8, ep=4), 8, "over all 8 GPUs", id="fewer expert ranks than GPUs"),
        pytest.param(
            ParallelismLayout(tp=8, dp=4, ep=32),
            4,
            "does not fit one host",
            id="an attention rank wider than a tray",
        ),
        pytest.param(
            ParallelismLayout(dp=8, pp=2),
            4,
            "pipeline stages",
            id="attention DP and pipeline stages across hosts",
        ),
    ],
)
def test_a_layout_that_vllm_cannot_express_is_refused(
    layout: ParallelismLayout, host_gpus: int, said: str
) -> None:
    with pytest.raises(UnrenderablePlan, match=said):
        _serve(layout, host_gpus)


@pytest.mark.parametrize("version", ["0.9.1", "0.34.0", "1.0.0", "main"])
def test_an_unknown_engine_version_is_refused(version: str) -> None:
    with pytest.raises(UnrenderablePlan, match=r"version|known"):
        _serve(ParallelismLayout(tp=2), engine=ENGINES["vllm"].model_copy(update={"version": version}))


def test_an_unknown_setting_of_the_draft_is_refused() -> None:
    with pytest.raises(UnrenderablePlan, match="temprature"):
        _serve(ParallelismLayout(tp=2), speculative={"method": "ngram", "temprature": 1})


def test_a_step_with_fewer_tokens_than_requests_is_refused() -> None:
    with pytest.raises(UnrenderablePlan, match="max_num_batched_tokens"):
        serve_launch(
            _deployment(), _workers(ParallelismLayout(tp=2), seqs=512, tokens=256), "qwen", CHECKPOINT, 300
        )


def expanded_by_kubernetes(text: str) -> str:
    """What a container gets: $$ becomes $; a $(NAME) that is left would be expanded, so there may be none."""
    rest = text.replace("$$", "")
    assert "$(" not in rest
    return text.replace("$$", "$")


HOSTILE = [
    "$$(HF_TOKEN)",
    "$",
    "a b",
    "$(LWS_LEADER_ADDRESS)",
    "`reboot`",
    "; rm -rf /",
    "it's",
    'say "hi"',
    "$HOME",
    "a\nb",
    "$((1+1))",
    "ünïcode",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_one_word(name: str) -> None:
    layout = ParallelismLayout(dp=8, ep=8)
    one_host = serve_launch(_deployment(), _workers(layout, 8), name, CHECKPOINT, 300)
    # Kubernetes turns $$( into $( and expands $(KNOWN_VARIABLE); it must get the escaped form.
    assert one_host.args[one_host.args.index("--served-model-name") + 1] == name.replace("$", "$$")
    trays = serve_launch(_deployment(), _workers(layout, 4), name, CHECKPOINT, 300)
    words = shlex.split(trays.args[0])
    assert words[:3] == ["exec", "vllm", "serve"]
    assert expanded_by_kubernetes(words[words.index("--served-model-name") + 1]) == name


@pytest.mark.parametrize("name", ["--headless", "-x", "", "  "])
def test_a_name_that_would_be_read_as_a_flag_is_refused(name: str) -> None:
    with pytest.raises(UnrenderablePlan, match="model name"):
        serve_launch(_deployment(), _workers(ParallelismLayout(tp=2)), name, CHECKPOINT, 300)


@settings(max_examples=60, deadline=None)
@given(
    st.text(min_size=1).filter(lambda text: "\x00" not in text and not text.startswith("-") and text.strip())
)
def test_any_name_survives_the_shell(name: str) -> None:
    trays = serve_launch(_deployment(), _workers(ParallelismLayout(dp=8, ep=8), 4), name, CHECKPOINT, 300)
    words = shlex.split(trays.args[0])
    assert expanded_by_kubernetes(words[words.index("--served-model-name") + 1]) == name


@pytest.mark.parametrize(
    "template",
    [
        "vllm/serve.args.j2",
        "dynamo/worker.args.j2",
        "dynamo/frontend.args.j2",
        "llm-d/endpoint-picker.yaml.j2",
    ],
)
def test_a_missing_value_is_an_error_not_an_empty_word(template: str) -> None:
    with pytest.raises(jinja2.UndefinedError):
        templates.render_template(template, {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ n | integer }}", True),
        ("{{ n | integer }}", 1.5),
        ("{{ n | word }}", ""),
        ("{{ n | json_word }}", [1]),
        ("{{ n }}", "raw"),
    ],
)
def test_a_value_of_another_type_than_its_filter_is_an_error(text: str, value: object) -> None:
    with pytest.raises(TypeError):
        templates._environment().from_string(text).render(n=value)


@pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])
def test_every_flag_of_the_table_is_a_full_name_of_the_engine(version: str) -> None:
    rows = json.loads(shared(f"engines/vllm-{version}.json").read_text())["flags"]
    real = {row["flag"]: row for row in rows}
    for name, row in templates.read_versions("vllm")["flags"].items():
        assert f"--{name}" in real, name
        is_server_only = real[f"--{name}"].get("group", "").startswith("Frontend")
        if is_server_only:
            assert row.get("server"), f"{name} is no flag of an engine inside Dynamo"


@pytest.mark.parametrize(("component", "ours"), [("dynamo.vllm", "worker"), ("frontend", "frontend")])
def test_every_flag_of_dynamo_is_real(component: str, ours: str) -> None:
    parts = json.loads(shared("engines/dynamo-1.6.1.json").read_text())["components"]
    real = {
        row["flag"]
        for part in (component, "common.runtime", "common.router", "common.kv_router", "common.http")
        for row in parts[part]
        if "flag" in row
    }
    assert {f"--{name}" for name in templates.read_versions("dynamo")["flags"][ours]} <= real


def test_every_metric_is_one_that_the_engine_exposes() -> None:
    known = shared("engines/metrics_map.json").read_text()
    for engine in ("vllm", "dynamo"):
        for metric in templates.read_versions(engine)["metrics"].values():
            assert metric in known, metric


def test_prefill_workers_publish_kv_events_and_decode_workers_do_not() -> None:
    deployment = _deployment(engine=ENGINES["dynamo"], target=Target.DYNAMO)
    for role, publishes in ((Role.PREFILL, True), (Role.DECODE, False), (Role.MIXED, True)):
        launch = dynamo_worker_launch(
            deployment,
            _workers(ParallelismLayout(tp=2), role=role),
            "qwen",
            CHECKPOINT,
            publishes_kv_events=True,
        )
        assert ("--kv-events-config" in launch.argv) is publishes
        assert ("--disaggregation-mode" in launch.argv) is (role is not Role.MIXED)
        quiet = dynamo_worker_launch(
            deployment,
            _workers(ParallelismLayout(tp=2), role=role),
            "qwen",
            CHECKPOINT,
            publishes_kv_events=False,
        )
        assert "--kv-events-config" not in quiet.argv


def test_a_frontend_routes_by_cache_when_wished() -> None:
    by_cache = dynamo_frontend_launch(2, cache_locality=True, migration_limit=3)
    assert (
        _flags(by_cache).items()
        >= {"--router-mode": "kv", "--router-replica-sync": "", "--migration-limit": "3"}.items()
    )
    plain = dynamo_frontend_launch(1, cache_locality=False, migration_limit=0)
    assert _flags(plain) == {"--http-port": "8000", "--router-mode": "least-loaded"}


@pytest.mark.parametrize(
    ("uri", "model", "load_format", "claim"),
    [
        ("hf://Qwen/Qwen3-32B", "Qwen/Qwen3-32B", "", ""),
        ("s3://weights/llama/fp8/", "s3://weights/llama/fp8", "runai_streamer", ""),
        ("gs://weights/llama", "gs://weights/llama", "runai_streamer", ""),
        ("pvc://weights/llama/fp8", "/checkpoints/llama/fp8", "", "weights"),
        ("pvc://weights", "/checkpoints", "", "weights"),
    ],
)
def test_an_address_of_a_checkpoint_is_understood(uri: str, model: str, load_format: str, claim: str) -> None:
    found = read_checkpoint(uri)
    assert (found.model, found.load_format, found.claim) == (model, load_format, claim)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "Qwen/Qwen3-32B",
        "hf://Qwen",
        "hf://a/b/c",
        "s3://bucket",
        "pvc://",
        "pvc://claim/../../etc",
        "hf://a/b c",
        "file:///etc/passwd",
    ],
)
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(UnrenderablePlan, match="expected hf://"):
        read_checkpoint(uri)
