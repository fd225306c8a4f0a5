"""A sample plan whose racks hold workers over several trays and small ones."""

from __future__ import annotations

from fleet.layout import ParallelismLayout, Precision
from fleet.plan.document import FleetPlan, Target
from tests.plan_parts import DEEPSEEK, LLAMA, deployment, mixed, offering, workload
from tests.plans import assemble, policy_line


def wide_plan() -> FleetPlan:
    """What the other samples lack: wide expert parallelism over trays without Dynamo, small workers on a rack, drafts."""
    gb200 = offering("gb200", "gb200-nvl72", 10.5, 1.87, 4)
    agents = workload("agents", DEEPSEEK, "interactive", 18.0, 8_000, 600)
    chat = workload("chat", LLAMA, "interactive", 24.0, 1155, 211)
    wide = deployment(
        agents,
        gb200,
        mixed(ParallelismLayout(dp=16, ep=16), 4, 390.0, 512),
        3,
        8.0,
        target=Target.LEADER_WORKER_SET,
        checkpoint="s3://weights/r1",
    )
    small = deployment(
        chat,
        gb200,
        mixed(ParallelismLayout(tp=2), 4, 42.0),
        9,
        3.3,
        checkpoint="pvc://weights/llama",
        weights=Precision.NVFP4,
    )
    draft = {"method": "mtp", "draft_tokens": 2, "acceptance_length": 1.8}
    return assemble(
        "wide",
        (LLAMA, DEEPSEEK),
        (agents, chat),
        (gb200,),
        (wide.model_copy(update={"speculative": draft, "kv_cache": Precision.FP8}), small),
        policy_line("host", "rack"),
    )
