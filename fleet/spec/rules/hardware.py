"""Rules about offerings: amounts, prices and places."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.diagnostics import Diagnostic, SpecPath, at, check, enumerated
from fleet.spec.model import FleetFile, OfferingSpec, SurviveLevel

_PRICES = ("per_gpu", "per_host", "per_rack", "catalog")
_AMOUNTS = ("hosts", "racks")
_TOLERATION_FIELDS = ("key", "operator", "value", "effect")
_TOLERATION_VALUES = {
    "operator": ("Exists", "Equal"),
    "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute"),
}


@check()
def offering_without_price(file: FleetFile) -> Iterator[Diagnostic]:
    """An offering has no price.

    What: `price` has none of `per_gpu`, `per_host`, `per_rack` and `catalog`.
    Why: A missing price is never read as 0 or guessed.
    Fix: Give the price with its date, or `catalog` with a kind such as on-demand.
    """
    for path, name, offering in _offerings(file):
        if not _given(offering.price, _PRICES):
            label = at(*path, "price", text="needs per_gpu, per_host, per_rack or catalog", on_key=True)
            yield offering_without_price.report(f"offering '{name}' has no price", label)


@check()
def price_ambiguous(file: FleetFile) -> Iterator[Diagnostic]:
    """An offering has more than one price.

    What: `price` has more than one of `per_gpu`, `per_host`, `per_rack` and `catalog`.
    Why: They may disagree, and which one counts would be a guess.
    Fix: Keep one of them.
    """
    for path, name, offering in _offerings(file):
        given = _given(offering.price, _PRICES)
        if len(given) > 1:
            labels = [at(*path, "price", key, text="one" if key == given[0] else "another") for key in given]
            yield price_ambiguous.report(f"offering '{name}' has a price {enumerated(given)}", *labels)


@check()
def price_without_date(file: FleetFile) -> Iterator[Diagnostic]:
    """A price has no date.

    What: A price is stated without `as_of`.
    Why: GPU prices move by tens of per cent in a year; a price without a date cannot be told from an old one.
    Fix: Add `as_of: 2026-11-24`, the day the price was read.
    """
    for path, name, offering in _offerings(file):
        stated = _given(offering.price, _PRICES[:3])
        if stated and offering.price.as_of is None:
            label = at(*path, "price", stated[0], text="needs `as_of` beside it")
            yield price_without_date.report(f"the price of offering '{name}' has no date", label)


@check()
def price_in_the_future(file: FleetFile) -> Iterator[Diagnostic]:
    """A price is newer than the day of the plan.

    What: A price's `as_of` is after `spec.as_of`.
    Why: The plan is judged on the day in spec.as_of, when this price was not known yet.
    Fix: Correct the date, or move spec.as_of forward.
    """
    for path, name, offering in _offerings(file):
        day = offering.price.as_of
        if day is not None and day > file.spec.as_of:
            yield price_in_the_future.report(
                f"the price of offering '{name}' is from after the day of the plan",
                at(*path, "price", "as_of", text="the price"),
                at("spec", "as_of", text="the plan"),
            )


@check()
def amount_missing(file: FleetFile) -> Iterator[Diagnostic]:
    """It is not said how much of an offering there is.

    What: `available` has neither `hosts` nor `racks`.
    Why: The plan may not buy more than there is.
    Fix: Add `hosts` (HGX) or `racks` (NVL72).
    """
    for path, name, offering in _offerings(file):
        if not _given(offering.available, _AMOUNTS):
            label = at(*path, "available", text="needs `hosts` or `racks`", on_key=True)
            yield amount_missing.report(f"offering '{name}' does not say how much there is", label)


@check()
def amount_ambiguous(file: FleetFile) -> Iterator[Diagnostic]:
    """An amount is given in hosts and in racks.

    What: `available`, `committed` or `unit` has both `hosts` and `racks`.
    Why: Whether they are the same machines or more of them would be a guess.
    Fix: Keep hosts for HGX offerings, racks for NVL72 offerings.
    """
    for path, name, offering in _offerings(file):
        for field in ("available", "committed", "unit"):
            if len(_given(getattr(offering, field), _AMOUNTS)) > 1:
                yield amount_ambiguous.report(
                    f"offering '{name}': {field} is given in hosts and in racks",
                    at(*path, field, "hosts", text="hosts"),
                    at(*path, field, "racks", text="and racks"),
                )


@check()
def committed_exceeds_available(file: FleetFile) -> Iterator[Diagnostic]:
    """More is paid for than there is.

    What: `committed` is more than `available`.
    Why: `available` counts everything that exists or may be bought, what is committed included.
    Fix: Raise `available`, or lower `committed`.
    """
    for path, name, offering in _offerings(file):
        for key in _AMOUNTS:
            committed, available = getattr(offering.committed, key), getattr(offering.available, key)
            if committed is not None and available is not None and committed > available:
                yield committed_exceeds_available.report(
                    f"offering '{name}' has more {key} committed than available",
                    at(*path, "committed", key, text=f"{committed:,} committed"),
                    at(*path, "available", key, text=f"{available:,} available"),
                )


@check()
def purchase_unit_is_zero(file: FleetFile) -> Iterator[Diagnostic]:
    """A purchase unit is nothing.

    What: `unit` is 0 hosts or 0 racks.
    Why: Nothing can be bought in units of nothing.
    Fix: Give the number that is bought together, or leave `unit` out for one.
    """
    for path, name, offering in _offerings(file):
        for key in _AMOUNTS:
            if getattr(offering.unit, key) == 0:
                message = f"offering '{name}' is bought in units of 0 {key}"
                yield purchase_unit_is_zero.report(
                    message, at(*path, "unit", key, text="allowed is 1 or more")
                )


@check()
def unit_does_not_divide(file: FleetFile) -> Iterator[Diagnostic]:
    """An amount is no multiple of the purchase unit.

    What: `available` or `committed` cannot be made of whole purchase units.
    Why: The rest could not be bought, or not be paid for.
    Fix: Make the amount a multiple of the unit.
    """
    for path, name, offering in _offerings(file):
        for key in _AMOUNTS:
            unit = getattr(offering.unit, key)
            for field in ("available", "committed"):
                amount = getattr(getattr(offering, field), key)
                if unit and amount is not None and amount % unit:
                    yield unit_does_not_divide.report(
                        f"offering '{name}': {amount:,} {key} are no multiple of the purchase unit",
                        at(*path, field, key, text=f"{amount % unit:,} {key} are left over"),
                        at(*path, "unit", key, text="bought together"),
                    )


@check()
def survive_zone_with_one_zone(file: FleetFile) -> Iterator[Diagnostic]:
    """The loss of a zone is to be survived, and there is only one.

    What: policy.survive has `zone`, and all offerings that a workload may use lie in one zone.
    Why: When that zone is lost, nothing is left.
    Fix: Add an offering in another zone, or take `zone` out of policy.survive.
    """
    survive = file.spec.policy.survive
    if SurviveLevel.ZONE not in survive:
        return
    wish = at("spec", "policy", "survive", survive.index(SurviveLevel.ZONE), text="asks for a second zone")
    offerings = file.spec.hardware.offerings
    zones = {offering.zone for offering in offerings.values()}
    if len(zones) == 1:
        first = next(iter(offerings))
        place = at("spec", "hardware", "offerings", first, "zone", text="the only zone")
        yield survive_zone_with_one_zone.report("all offerings lie in one zone", wish, place)
        return
    for name, workload in file.spec.workloads.items():
        reached = {offerings[offering].zone for offering in workload.offerings if offering in offerings}
        if len(reached) == 1:
            restricted = at("spec", "workloads", name, "offerings", text=f"all lie in {reached.pop()}")
            message = f"workload '{name}' may use one zone only"
            yield survive_zone_with_one_zone.report(message, restricted, wish)


@check()
def bad_toleration(file: FleetFile) -> Iterator[Diagnostic]:
    """A toleration is not one that Kubernetes takes.

    What: A mapping in `tolerations` has an unknown field, or an operator or effect that does not exist.
    Why: The cluster would refuse the pods.
    Fix: Use key, operator (Exists or Equal), value and effect (NoSchedule, PreferNoSchedule or NoExecute).
    """
    for path, name, offering in _offerings(file):
        for index, toleration in enumerate(offering.tolerations):
            for field, value in toleration.items():
                where = (*path, "tolerations", index, field)
                if field not in _TOLERATION_FIELDS:
                    label = at(*where, text=f"known are {enumerated(_TOLERATION_FIELDS)}", on_key=True)
                    yield bad_toleration.report(f"offering '{name}': a toleration has no '{field}'", label)
                elif value not in _TOLERATION_VALUES.get(field, (value,)):
                    label = at(*where, text=f"known are {enumerated(_TOLERATION_VALUES[field])}")
                    yield bad_toleration.report(f"offering '{name}': '{value}' is not an {field}", label)


def _offerings(file: FleetFile) -> Iterator[tuple[SpecPath, str, OfferingSpec]]:
    for name, offering in file.spec.hardware.offerings.items():
        yield ("spec", "hardware", "offerings", name), name, offering


def _given(part: object, fields: tuple[str, ...]) -> list[str]:
    return [field for field in fields if getattr(part, field) is not None]


CHECKS = (
    offering_without_price,
    price_ambiguous,
    price_without_date,
    price_in_the_future,
    amount_missing,
    amount_ambiguous,
    committed_exceeds_available,
    purchase_unit_is_zero,
    unit_does_not_divide,
    survive_zone_with_one_zone,
    bad_toleration,
)
