"""Says in the user's words why no answer exists: the smallest conflict of rules, at the lines that state them."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.candidates.need import Drop
from fleet.catalog.records import DomainKind
from fleet.diagnostics import Diagnostic, at, register
from fleet.pipeline.alternatives import drops_by_reason
from fleet.pipeline.lower import MICRO_USD, MILLI, Trace
from fleet.pipeline.resolved import ResolvedFleet, ResolvedOffering
from fleet.spec.model import Objective
from fleet.units import format_kilowatts, format_requests_per_s, format_usd_per_hour
from solver.outcome import Conflicting, Infeasible, Unknown

NO_CANDIDATE = register(
    "no-candidate-reaches-slo",
    what="No layout on any offering can serve a workload within its SLO, whatever the number of replicas.",
    why="More replicas do not make a single request faster.",
    fix="relax the SLO, allow another precision or engine, or offer a faster accelerator",
)
INFEASIBLE = register(
    "fleet-is-infeasible",
    what="The demand, the hardware and the policy contradict each other; the listed rules are a smallest such set.",
    why="Each rule that is listed is needed for the contradiction: without any one of them a plan exists.",
    fix="move one of the listed lines as far as its label says",
)
NO_ANSWER = register(
    "no-answer-within-effort",
    what="The solver found neither a plan nor a proof that none exists within its effort.",
    why="The effort is counted in work, not seconds, so that the same file gives the same answer everywhere.",
    fix="raise --time-limit",
)


def no_candidates(workloads: Mapping[str, list[Drop]]) -> list[Diagnostic]:
    """Return a diagnostic for each workload that no candidate can serve, its drops counted by reason."""
    found = []
    for name, drops in workloads.items():
        notes = tuple(f"{row.count} dropped, {row.reason}: {row.example}" for row in drops_by_reason(drops))
        where = at("spec", "workloads", name, text="no layout on any offering is left", on_key=True)
        message = f"no candidate can serve workload '{name}' within its SLO"
        advice = _ADVICE.get(next((row.reason for row in drops_by_reason(drops)), ""), "")
        found.append(NO_CANDIDATE.report(message, where, notes=notes, help=advice))
    return found


_ADVICE = {
    "nothing-available": "raise available of an offering that may serve the workload",
    "does-not-fit": "offer an accelerator with more memory or a larger NVLink domain, or allow a lower precision",
    "no-hardware-precision": "offer hardware that has the precision, or list a checkpoint in another one",
    "slo-unreachable": "relax the SLO, allow another precision or engine, or offer a faster accelerator",
}
"""What to do about the most frequent reason that candidates were dropped for."""


def locate(failure: Infeasible | Unknown, trace: Trace, fleet: ResolvedFleet) -> list[Diagnostic]:
    """Return the conflict as one diagnostic with a label on each rule's own line."""
    if isinstance(failure, Unknown):
        bound = _bound(failure.bound, fleet)
        return [
            NO_ANSWER.report(
                f"no plan was found: {failure.reason}", at("spec", "workloads", on_key=True), notes=(bound,)
            )
        ]
    labels = [at(*trace.path(c.rule, c.subject), text=_label(c, fleet)) for c in failure.conflict]
    movable = [
        _change(c, fleet) for c in failure.conflict if c.needs is not None and _kind(c) not in _NO_KNOB
    ]
    notes = [
        f"{len(failure.conflict)} rules contradict each other; without any one of them a plan exists",
        *failure.notes,
    ]
    advice = (
        "change one of these: " + "; ".join(movable)
        if movable
        else "no single line is enough; change two or more of the listed ones"
    )
    return [INFEASIBLE.report(_headline(failure), *labels, notes=notes, help=advice)]


def _bound(bound: int | None, fleet: ResolvedFleet) -> str:
    """Say what is proven of any plan, in the unit of the objective."""
    if not bound:
        return "nothing is proven"
    objective = fleet.file.spec.policy.objective
    if objective is Objective.GPUS:
        return f"any plan buys at least {bound} GPUs"
    if objective is Objective.WATTS:
        return f"any plan draws at least {format_kilowatts(bound / 1000)}"
    return f"any plan costs at least {format_usd_per_hour(bound / MICRO_USD)}"


def _headline(failure: Infeasible) -> str:
    workloads = [c.subject for c in failure.conflict if c.rule in ("cover", "rate", "min-replicas")]
    subject = ", ".join(f"'{name}'" for name in dict.fromkeys(workloads))
    return f"the fleet cannot serve {subject or 'its workloads'} under these rules"


def _label(c: Conflicting, fleet: ResolvedFleet) -> str:
    """Say what a rule states and at which amount it would no longer be in the way."""
    kind = _kind(c)
    alone = (
        ""
        if c.needs is None or kind in _SWITCHES
        else f"; alone it would do with {_amount(c, c.needs, fleet)}"
    )
    has = _amount(c, c.has, fleet)
    match kind:
        case "cover":
            return f"needs {has}, growth and retries included{alone}"
        case "inventory":
            return f"'{c.subject}' has {has}{alone}"
        case "placement":
            return f"a replica has to fit in one NVLink domain of {has}"
        case "survive":
            return f"the loss of one {_level(c)} must leave enough for '{c.subject}'"
        case "one-layout":
            return "one layout is used for a workload on an offering"
        case "purchase-unit":
            return f"bought together: {has}{alone}"
        case "min-replicas":
            return f"asks for {has} replicas{alone}"
        case "min-units":
            return f"{has} of '{c.subject}' are committed{alone}"
        case _:
            return f"allows {has}{alone}"


def _change(c: Conflicting, fleet: ResolvedFleet) -> str:
    """Say what to do about a rule that alone would make the fleet solvable."""
    assert c.needs is not None
    amount = _amount(c, c.needs, fleet)
    match _kind(c):
        case "cover":
            return f"lower the demand of '{c.subject}' to {amount}"
        case "inventory":
            return f"raise what is available of '{c.subject}' to {amount}"
        case "survive":
            return f"take {_level(c)} out of policy.survive"
        case "budget":
            return f"raise the budget to {amount}"
        case "power":
            return f"raise the power limit to {amount}"
        case "min-replicas":
            return f"lower min_replicas of '{c.subject}' to {amount}"
        case "min-units":
            return f"commit to {amount} of '{c.subject}'"
        case kind:
            return f"give up {kind} of '{c.subject}'"


_NO_KNOB = frozenset({"placement", "one-layout", "purchase-unit", "pieces", "max-replicas"})
"""Rules that no line of the file can move: hardware, or how plans are made."""

_SWITCHES = frozenset({"survive"})
"""Rules that hold or do not; they have no amount."""


def _kind(c: Conflicting) -> str:
    return c.rule.partition("(")[0]


def _level(c: Conflicting) -> str:
    return c.rule.partition("(")[2].rstrip(")")


def _amount(c: Conflicting, value: int, fleet: ResolvedFleet) -> str:
    """Return an amount of a rule with its unit."""
    match _kind(c):
        case "cover":
            return format_requests_per_s(value / MILLI)
        case "budget":
            return format_usd_per_hour(value / MICRO_USD)
        case "power":
            return format_kilowatts(value / 1000)
        case "placement":
            return f"{value} GPUs"
        case "inventory" | "min-units":
            offering = fleet.offerings[c.subject]
            return _counted(value * offering.unit_domains, offering)
        case "purchase-unit":
            return _counted(value, fleet.offerings[c.subject])
        case _:
            return str(value)


def _counted(domains: int, offering: ResolvedOffering) -> str:
    noun = "rack" if offering.accelerator.domain is DomainKind.RACK else "host"
    return f"{domains} {noun}{'' if domains == 1 else 's'}"
