"""`fleetc render`: the GitOps tree, from the plan alone."""

from __future__ import annotations

import sys
from pathlib import Path

from fleet.cli.stack import committed_plan, stack_folder
from fleet.cli.trouble import Stop
from fleet.plan.staleness import staleness
from fleet.plan.verify import verify_plan
from fleet.render.build import build_graph
from fleet.render.errors import UnrenderablePlan
from fleet.render.omissions import omissions
from fleet.render.write import TreeRefused, write_tree


def run(stack: Path, out: Path) -> None:
    """Write the tree and say what changed in it.

    Raises:
        Stop: the plan breaks a rule or cannot be rendered, or the folder holds something that is not ours.
    """
    if str(out) in ("", ".") or out.resolve() == stack_folder(stack).resolve():
        raise Stop("--out is the current folder or the stack's own", "name a folder for the tree alone")
    plan = committed_plan(stack)
    if violations := verify_plan(plan):
        first = violations[0]
        raise Stop(
            f"the plan breaks {first.rule} ({first.subject}): {first.message}",
            f"run `fleetc compile {stack}`",
        )
    try:
        graph = build_graph(plan)
        tree = write_tree(plan, graph, out)
    except (UnrenderablePlan, TreeRefused) as refused:
        raise Stop(str(refused)) from None
    if reason := staleness(plan, stack_folder(stack)):
        sys.stderr.write(f"warning[stale-plan]: {reason}\n")
    for gap in omissions(plan):
        sys.stderr.write(f"note: not in the objects: {gap.subject}: {gap.missing}; {gap.instead}\n")
    for path in tree.edited_by_hand:
        sys.stderr.write(
            f"warning[edited-by-hand]: {path} was changed since fleetc wrote it, and is as the plan says again\n"
        )
    sys.stdout.write(
        f"{out}: {len(graph)} objects, {sum(r.gpus for r in graph)} GPUs; "
        f"{len(tree.written)} files written, {len(tree.unchanged)} unchanged, {len(tree.removed)} removed\n"
    )
