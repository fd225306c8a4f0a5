"""Small problems, drawn at random, that enumeration can answer."""

from __future__ import annotations

from hypothesis import strategies as st

from solver.problem import Budget, Demand, Level, Limit, Offering, Option, Problem

EXACT = Budget(deterministic_seconds=5.0, gap=0.0)
LEVELS = tuple(Level)


@st.composite
def offerings(draw: st.DrawFn, name: str) -> Offering:
    domain, host = draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (3, 3), (3, 1), (4, 2)]))
    unit = draw(st.sampled_from([1, 1, 2]))
    most = draw(st.integers(1, max(1, 6 // (domain * unit))))
    return Offering(
        id=name,
        zone=draw(st.sampled_from(["a", "b"])),
        unit_domains=unit,
        max_units=most,
        min_units=draw(st.sampled_from([0, 0, 0, 1])),
        domain_gpus=domain,
        host_gpus=host,
        domains_per_rack=draw(st.sampled_from([1, 1, 2])),
        cost_per_unit=draw(st.integers(1, 9)),
        power_per_unit=draw(st.integers(1, 9)),
    )


@st.composite
def options(draw: st.DrawFn, number: int, offering: Offering, workloads: list[str]) -> Option:
    sizes = [
        (g, 0)
        for g in range(1, offering.domain_gpus + 1)
        if g <= offering.host_gpus or g % offering.host_gpus == 0
    ]
    sizes += [(offering.domain_gpus * k, k) for k in (1, 2)]
    gpus, domains = draw(st.sampled_from(sizes))
    served = draw(st.lists(st.sampled_from(workloads), min_size=1, max_size=2, unique=True))
    return Option(
        id=f"i{number}",
        offering=offering.id,
        slot=draw(st.sampled_from(["s0", f"s{number}", f"s{number}"])),
        gpus=gpus,
        domains=domains,
        capacity=tuple((w, draw(st.integers(2, 9)) * gpus) for w in served),
        max_replicas=draw(st.sampled_from([None, None, None, 1])),
    )


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    places = [draw(offerings(name)) for name in ["o0", "o1"][: draw(st.integers(1, 2))]]
    workloads = ["w0", "w1"][: draw(st.integers(1, 2))]
    drawn = [
        draw(options(n, draw(st.sampled_from(places)), workloads)) for n in range(draw(st.integers(1, 3)))
    ]
    demands = [
        Demand(
            w,
            draw(st.integers(1, 10)),
            draw(st.sampled_from([0, 1, 1, 2])),
            draw(st.one_of(st.just(frozenset()), st.frozensets(st.sampled_from(LEVELS), max_size=2))),
        )
        for w in workloads
    ]
    limits = draw(
        st.lists(
            st.builds(
                Limit,
                st.just("limit"),
                st.sampled_from(["budget", "power"]),
                st.just(frozenset(o.id for o in places)),
                st.integers(8, 60),
            ),
            max_size=1,
        )
    )
    objective = draw(st.sampled_from(["cost", "cost", "power"]))
    return Problem(
        tuple(places), tuple(drawn), tuple(demands), tuple(limits), objective=objective, budget=EXACT
    )
