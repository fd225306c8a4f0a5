"""The rack map as a picture in text: one cell per GPU, one letter per replica, equal domains drawn once and counted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from fleet.layout import Role
from fleet.plan.document import FleetPlan, MappedDomain, PlannedOffering
from fleet.review.format import counted, listed
from fleet.review.report import Picture

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
IDLE, SPARE = ".", "*"
WIDTH = 96
KEY = f"One cell is one GPU. A, B, C: replicas (a, b, c: their prefill workers); {IDLE} idle; {SPARE} kept free as a spare."


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A domain with its letters: equal drawings are drawn once. `owners` are deployments by letter, in order of appearance."""

    hosts: tuple[str, ...]
    owners: tuple[str, ...]


def rack_map(plan: FleetPlan) -> tuple[Picture, ...]:
    """Return one picture for each offering with domains, in the plan's order.

    Domains that look alike (the same deployments in the same cells, whatever the replica) share one drawing that
    says how many they are and which; replicas are named beside it, in the order of the domains.
    """
    return tuple(
        _of_offering(offering, domains)
        for offering in plan.offerings
        if (domains := [d for d in plan.domains if d.offering == offering.name])
    )


def _of_offering(offering: PlannedOffering, domains: list[MappedDomain]) -> Picture:
    alike: dict[_Drawing, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    for domain in sorted(domains, key=lambda d: d.index):
        drawing, replicas = _draw(offering, domain)
        alike[drawing].append((domain.index, replicas))
    labels = [_label([index for index, _ in members]) for members in alike.values()]
    lines: list[str] = []
    for label, (drawing, members) in zip(labels, alike.items(), strict=True):
        legend = _legend(drawing, [replicas for _, replicas in members])
        if len(drawing.hosts) == 1:
            lines.extend(_host(label.ljust(max(map(len, labels))), drawing.hosts[0], legend))
        else:
            lines.extend([f"rack {label}:", *_trays(drawing, offering), *(f"  {line}" for line in legend)])
    return Picture(tuple(lines), title=_caption(offering, domains))


def _label(indices: list[int]) -> str:
    return _ranges(indices) + (f" ({len(indices)} alike)" if len(indices) > 1 else "")


def _draw(offering: PlannedOffering, domain: MappedDomain) -> tuple[_Drawing, tuple[int, ...]]:
    """Return the drawing and, by letter, the replica that it stands for."""
    letters: dict[tuple[str, int], str] = {}
    hosts = []
    for host in sorted(domain.hosts, key=lambda h: h.index):
        cells = ""
        for slot in host.slots:
            key = (slot.deployment, slot.replica)
            letter = letters.setdefault(key, LETTERS[len(letters) % len(LETTERS)])
            cells += (letter.lower() if slot.role is Role.PREFILL else letter) * slot.gpus
        hosts.append(cells.ljust(offering.gpus_per_host, SPARE if host.is_spare else IDLE))
    return _Drawing(tuple(hosts), tuple(name for name, _ in letters)), tuple(
        replica for _, replica in letters
    )


def _host(label: str, cells: str, legend: list[str]) -> list[str]:
    """Return an HGX host: its cells, the legend beside them or, where that is too wide, below."""
    beside = f"{label}  {cells}  {'; '.join(legend)}"
    return [beside] if len(beside) <= WIDTH else [f"{label}  {cells}", *(f"  {line}" for line in legend)]


def _trays(drawing: _Drawing, offering: PlannedOffering) -> list[str]:
    """Return the trays of a rack side by side under their numbers."""
    width = max(offering.gpus_per_host, 2)
    per_line = max(1, (WIDTH - 2) // (width + 1))
    lines = []
    for start in range(0, len(drawing.hosts), per_line):
        part = range(start, min(start + per_line, len(drawing.hosts)))
        lines.append("  " + " ".join(f"{i:02d}".ljust(width) for i in part).rstrip())
        lines.append("  " + " ".join(drawing.hosts[i].ljust(width) for i in part).rstrip())
    return lines


def _legend(drawing: _Drawing, replicas: list[tuple[int, ...]]) -> list[str]:
    """Return, for each deployment, its letters and the replicas they stand for over all domains drawn alike."""
    positions: dict[str, list[int]] = defaultdict(list)
    for position, owner in enumerate(drawing.owners):
        positions[owner].append(position)
    again = " (letters start again after Z)" if len(drawing.owners) > len(LETTERS) else ""
    cells = "".join(drawing.hosts)
    lines = []
    for owner, at in positions.items():
        letters = [LETTERS[i % len(LETTERS)] for i in at]
        shown = [x for letter in letters for x in (letter.lower(), letter) if x in cells]
        symbols = "".join(shown) if len(shown) <= 8 else f"{shown[0]}..{shown[-1]}"
        numbers = sorted({members[i] for members in replicas for i in at})
        lines.append(
            f"{symbols} = {owner} {'replica' if len(numbers) == 1 else 'replicas'} {_ranges(numbers, digits=1)}{again}"
        )
    return lines or ["nothing runs here"]


def _caption(offering: PlannedOffering, domains: list[MappedDomain]) -> str:
    held = sum(slot.gpus for domain in domains for host in domain.hosts for slot in host.slots)
    spare = sum(offering.gpus_per_host for domain in domains for host in domain.hosts if host.is_spare)
    total = sum(offering.gpus_per_host * len(domain.hosts) for domain in domains)
    if offering.domain == "rack":
        shape = f"{counted(len(domains), 'rack')} of {offering.hosts_per_domain} trays x {offering.gpus_per_host} GPUs"
    else:
        shape = f"{counted(len(domains), 'host')} x {offering.gpus_per_host} GPUs"
    parts = [
        f"{held:,} of {total:,} GPUs held",
        f"{spare:,} spare" if spare else "",
        f"{total - held - spare:,} idle",
    ]
    return f"{offering.name}: {offering.accelerator_name} in {offering.zone}, {shape}: {', '.join(p for p in parts if p)}"


def _ranges(numbers: list[int], digits: int = 2) -> str:
    """Return sorted numbers with runs drawn together: "00-02, 05"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [f"{a:0{digits}d}" if a == b else f"{a:0{digits}d}-{b:0{digits}d}" for a, b in runs]
    return listed(shown, most=8)
