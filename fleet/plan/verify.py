"""Recomputes every rule of a plan by plain arithmetic from the plan alone.

Nothing of what made the plan is read: no solver, no catalogue, no fleet file. What a plan says of the world outside is
taken as given: prices, power of a GPU, availability, the demand's rate and lengths, predicted latencies, capacities and
memory, physical floors. Such a field is checked against the others, and any value of it that agrees with them passes:

    policy        error_quantile; max_utilisation, budget_usd_per_hour and power_limit_kw above what is used
    models        active_params up to total_params; total_params below what the weights hold
    workloads     priority, candidates, dropped (count), questions (number); limits_as_written that a line keeps;
                  demand: peak_req_per_s and retries below what is planned, mean_req_per_s, burstiness_cv,
                  cached_prefix_fraction up to 1, mean of input_tokens up to its max; p50, p90, p99, max in order
    offerings     available_units above bought_units; domains_per_rack where no failure gets worse; price and
                  unit_domains where nothing is bought
    deployments   speculative, memory_fraction, relative_error_p90, weight_load_s; kv_transfer_ms_mean over a link;
                  weight_bytes_per_gpu, kv_capacity_tokens and max_model_len where one request fits; max_num_seqs and
                  max_num_batched_tokens in order, above mean_batch_per_replica; ep that divides; utilisation up to
                  policy's; of ttft_ms, tpot_ms and e2e_ms the mean, and quantiles in order that no limit names;
                  error_low_ms and error_high_ms around the prediction; ttft_relative_error_p90; every figure of estimate
    certificate   floor and attempts (usd_per_hour, bound) that do not contradict cost and bound; physical_floor_gpus up
                  to the GPUs used; rules_checked, solver, notes
    measure_next  concurrency up to requests; error_before_p90 and error_after_p90 in order; of outcomes standard_score,
                  tpot_factor and gap, and keep, best and slack that save as much (keep not below the plan's cost)
    elsewhere     digests, dates, names shown to people, sources, labels, selectors, warnings, gateway, delivery

Rules of the fleet file that the plan does not carry cannot be checked here: min_replicas, committed units, power limits
of single offerings, and which offerings, engines and precisions a workload may use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fleet.plan import (
    verify_amounts,
    verify_layout,
    verify_measure,
    verify_names,
    verify_rackmap,
    verify_service,
)
from fleet.plan.document import FleetPlan
from fleet.plan.verify_ledger import Ledger, Violation

__all__ = ["RULES_CHECKED", "Violation", "verify_plan"]

_CHECKS: tuple[Callable[[Ledger], Iterator[Violation]], ...] = (
    verify_names.cross_references,
    verify_layout.deployments_alone,
    verify_rackmap.rack_map,
    verify_amounts.purchases,
    verify_amounts.deployments_priced,
    verify_amounts.totals,
    verify_service.demand_and_capacity,
    verify_service.survival,
    verify_service.latencies,
    verify_amounts.certificate,
    verify_amounts.physical_floor,
    verify_measure.measure_runs,
)

RULES_CHECKED: tuple[str, ...] = (
    *verify_names.FOUNDATION_RULES,
    *verify_names.RULES,
    *verify_layout.RULES,
    *verify_rackmap.RULES,
    *verify_amounts.RULES,
    *verify_service.RULES,
    *verify_measure.RULES,
)
"""Names of all rules that `verify_plan` checks, for the certificate."""


def verify_plan(plan: FleetPlan) -> list[Violation]:
    """Return every rule that the plan breaks, in the plan's own order; an empty list means that it is sound.

    A plan with a number that is none, a repeated identity or a name that leads nowhere is not checked further.
    """
    broken = list(verify_names.foundations(plan))
    if broken:
        return broken
    ledger = Ledger(plan)
    return [violation for check in _CHECKS for violation in check(ledger)]
