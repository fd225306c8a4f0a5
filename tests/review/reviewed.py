"""Pairs of plans that the review tests print, and a fleet of many deployments."""

from __future__ import annotations

from fleet.plan.changes import PlanDiff
from fleet.plan.diff import diff_plans
from fleet.plan.document import FleetPlan, WarningLine
from tests.plans import dev_plan, prod_plan


def changed_prod() -> tuple[PlanDiff, FleetPlan]:
    """prod with a fifth more chat, no batch any more, chat's H100 part at another batch limit and documents moved to H200."""
    warning = WarningLine(
        rule="price-past-its-use-by-date",
        severity="warning",
        subject="gb200-east",
        message="price of 'gb200-east' is 62 days old, its use-by age is 60 days",
        help="state a newer price",
    )
    new = prod_plan(6, ("batch",), demand=1.2, chat_seqs=96, documents_on_h200=True, warnings=(warning,))
    return diff_plans(prod_plan(), new), new


def first(plan: FleetPlan) -> tuple[PlanDiff, FleetPlan]:
    return diff_plans(None, plan), plan


def unchanged(plan: FleetPlan) -> tuple[PlanDiff, FleetPlan]:
    return diff_plans(plan, plan), plan


def many_deployments(number: int) -> FleetPlan:
    """dev's deployment, workload and host, `number` times under other names."""
    plan = dev_plan()
    deployment, workload, offering, domain = (
        plan.deployments[0],
        plan.workloads[0],
        plan.offerings[0],
        plan.domains[0],
    )
    deployments, workloads, domains = [], [], []
    for i in range(number):
        name = f"chat-{i:03d}-with-a-name-as-long-as-names-come-in-a-large-company"
        deployments.append(
            deployment.model_copy(
                update={
                    "id": f"{name}-h100-dev",
                    "served": (deployment.served[0].model_copy(update={"workload": name}),),
                }
            )
        )
        workloads.append(workload.model_copy(update={"name": name, "deployments": (f"{name}-h100-dev",)}))
        hosts = tuple(
            host.model_copy(
                update={
                    "slots": tuple(
                        s.model_copy(update={"deployment": f"{name}-h100-dev"}) for s in host.slots
                    )
                }
            )
            for host in domain.hosts
        )
        domains.append(domain.model_copy(update={"id": f"h100-dev-{i:02d}", "index": i, "hosts": hosts}))
    bought = {
        "bought_units": number,
        "available_units": number,
        "hosts": number,
        "gpus_bought": 8 * number,
        "gpus_used": 4 * number,
    }
    return plan.model_copy(
        update={
            "deployments": tuple(deployments),
            "workloads": tuple(workloads),
            "domains": tuple(domains),
            "offerings": (offering.model_copy(update=bought),),
        }
    )


NASTY = "a|b `c` <img src=x onerror=alert(1)> [l](http://x) @team #12 $x$ **b** \x1b[31m\x07\u202e\n| new row"


def nasty_plan() -> FleetPlan:
    """dev with a string in every free text that would be markup, a mention, an escape sequence or a new line."""
    plan = dev_plan()
    workload = plan.workloads[0]
    deployment = plan.deployments[0]
    return plan.model_copy(
        update={
            "fleet": "dev --> <b>",
            "labels": {NASTY: NASTY},
            "workloads": (
                workload.model_copy(
                    update={
                        "slo": NASTY,
                        "demand": workload.demand.model_copy(update={"source": NASTY}),
                        "questions": tuple(
                            q.model_copy(update={"answer": NASTY}) for q in workload.questions
                        ),
                        "dropped": tuple(d.model_copy(update={"example": NASTY}) for d in workload.dropped),
                        "alternatives": tuple(
                            a.model_copy(update={"why_lost": NASTY}) for a in workload.alternatives
                        ),
                    }
                ),
            ),
            "deployments": (deployment.model_copy(update={"checkpoint_uri": NASTY}),),
            "warnings": tuple(w.model_copy(update={"message": NASTY, "help": NASTY}) for w in plan.warnings),
        }
    )
