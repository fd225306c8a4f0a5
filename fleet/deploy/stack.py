"""A stack's committed plan as Pulumi resources, after checking that it is the plan of this input."""

from __future__ import annotations

from pathlib import Path

import pulumi

from fleet.deploy.components import Fleet, FleetArgs
from fleet.plan.document import FleetPlan
from fleet.plan.file import UnreadablePlan, read_plan
from fleet.plan.staleness import staleness
from fleet.render.build import build_graph
from fleet.render.errors import UnrenderablePlan

PLAN_FILE = "plan.json"


def read_current_plan(stack_folder: Path) -> FleetPlan:
    """Read a stack's plan and refuse it unless it is whole and belongs to the stack's input files.

    Raises:
        pulumi.RunError: missing, edited or stale; Pulumi prints the message without a traceback.
    """
    try:
        plan = read_plan(stack_folder / PLAN_FILE, PLAN_FILE)
    except UnreadablePlan as error:
        raise pulumi.RunError(f"{stack_folder.name}: {error}") from None
    reason = staleness(plan, stack_folder)
    if reason is not None:
        raise pulumi.RunError(f"{stack_folder.name}: {reason}")
    return plan


def deploy_stack(
    stack_folder: Path, *, protect_capacity: bool = True, opts: pulumi.ResourceOptions | None = None
) -> Fleet:
    """Register every object of the stack's plan.

    Args:
        stack_folder: The folder with fleet.yaml and plan.json.
        protect_capacity: False lets go of capacity that the plan protects, before it is removed on purpose.
        opts: Options of the fleet, such as its providers; passed on untouched.

    Raises:
        pulumi.RunError: the plan is missing, edited, stale or cannot be rendered. Nothing is registered then.
    """
    plan = read_current_plan(stack_folder)
    try:
        graph = build_graph(plan)
    except UnrenderablePlan as error:
        raise pulumi.RunError(f"{stack_folder.name}: {error}") from None
    return Fleet(plan.fleet, FleetArgs(plan, graph, protect_capacity), opts)
