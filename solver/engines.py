"""How programs are run: GSCIP and GLOP through MathOpt, one thread, counts for limits, so that answers repeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from importlib.metadata import version
from math import ceil, inf, isfinite

from ortools.math_opt.python import mathopt

SOLVER = f"OR-Tools {version('ortools')} (GSCIP, GLOP, CP-SAT)"
_RELATIVE_TOLERANCE = 1e-9  # how far a floating-point bound is trusted
_ABSOLUTE_TOLERANCE = 1e-5


class Status(Enum):
    """What a run proved."""

    FOUND = auto()  # a solution, with whatever bound was reached
    INFEASIBLE = auto()
    OPEN = auto()  # neither a solution nor a proof within the limit


@dataclass(frozen=True, slots=True)
class Run:
    """Result of one mixed-integer program; amounts in the units of its objective."""

    status: Status
    values: Mapping[mathopt.Variable, float]
    amount: float
    bound: float  # of any solution; -inf when nothing is known
    nodes: int


def run_mip(
    model: mathopt.Model,
    *,
    nodes: int,
    gap: float,
    priorities: Mapping[mathopt.Variable, int] | None = None,
    first_only: bool = False,
    many_cuts: bool = False,
) -> Run:
    """Minimise a mixed-integer program with GSCIP within so many branch-and-bound nodes."""
    parameters = mathopt.SolveParameters(
        threads=1,
        random_seed=0,
        node_limit=nodes,
        relative_gap_tolerance=gap,
        cuts=mathopt.Emphasis.HIGH if many_cuts else None,
        solution_limit=1 if first_only else None,
    )
    result = mathopt.solve(
        model,
        mathopt.SolverType.GSCIP,
        params=parameters,
        model_params=mathopt.ModelSolveParameters(branching_priorities=dict(priorities or {})),
    )
    reason = result.termination.reason
    bounds = result.termination.objective_bounds
    explored = result.solve_stats.node_count
    if reason in (mathopt.TerminationReason.INFEASIBLE, mathopt.TerminationReason.INFEASIBLE_OR_UNBOUNDED):
        return Run(Status.INFEASIBLE, {}, inf, inf, explored)
    if not result.has_primal_feasible_solution():
        return Run(Status.OPEN, {}, inf, bounds.dual_bound, explored)
    return Run(Status.FOUND, result.variable_values(), bounds.primal_bound, bounds.dual_bound, explored)


def run_lp(model: mathopt.Model) -> Mapping[mathopt.Variable, float] | None:
    """Solve a linear program with GLOP; None when it has no solution."""
    result = mathopt.solve(
        model, mathopt.SolverType.GLOP, params=mathopt.SolveParameters(threads=1, random_seed=0)
    )
    return result.variable_values() if result.has_primal_feasible_solution() else None


def whole_bound(bound: float) -> int | None:
    """Round the bound of a whole-numbered objective up, no further than floating point can be trusted."""
    if not isfinite(bound):
        return None
    return ceil(bound - _ABSOLUTE_TOLERANCE - abs(bound) * _RELATIVE_TOLERANCE)
