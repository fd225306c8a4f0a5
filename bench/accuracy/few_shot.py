"""An unseen group after a few measurements of it: fitted without the group, then updated as `fleetc calibrate` does.

A draw takes k of the group's rows at random (seeded by group, k and draw); its other rows are scored. Cells of which
none was drawn stay as they are. Everything goes through the product: coefficients, update of the cells that the rows
cover, closed loops.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from math import inf

import numpy as np
from calibration.dataset import Array, Dataset
from calibration.few_shot import coefficients_of
from calibration.model import Predicted, fit_all, throughput
from calibration.validate import Errors, errors_of
from numpy.typing import NDArray

from fleet.perf.calibrated import Calibrated
from fleet.perf.closed_loop import Loop, LoopResult, closed_loops
from fleet.perf.coefficients import Coefficients
from fleet.perf.interface import PerformanceModel
from fleet.perf.measured import few_shot as priors
from fleet.perf.measured.fitted import fit_cells, own_of
from fleet.perf.measured.measurement import Measurement

COUNTS = (1, 3, 6)
DRAWS = 5

Rows = NDArray[np.intp]
Found = dict[int, tuple[list[int], list[Array]]]
"""By the number of measurements: the rows that were scored, and their errors draw by draw, each of shape (3, N)."""


def coefficients_without(data: Dataset, left_out: Sequence[int]) -> Coefficients:
    """Fit without some rows; error bars are the committed ones."""
    rest = data.take(np.setdiff1d(np.arange(len(data)), np.array(left_out, dtype=np.intp)))
    return coefficients_of(fit_all(rest))


def loop_of(data: Dataset, row: int) -> Loop:
    """Return the closed loop of a row."""
    r = data.rows[row]
    limit = inf if r.batch_limit is None else r.batch_limit
    return Loop(r.replica, r.isl, r.osl, r.concurrency, batch_limit=limit)


def measurement_of(data: Dataset, row: int) -> Measurement:
    """Return a row as a measurement of the user's own."""
    return Measurement(
        loop_of(data, row), float(data.tpot_ms[row]), float(data.ttft_ms[row]), sha256=f"{row:064x}"
    )


def predicted_by(perf: PerformanceModel, data: Dataset, rows: Sequence[int]) -> Predicted:
    """Predict rows as the product does."""
    results = closed_loops(perf, [loop_of(data, i) for i in rows])
    found = []
    for i, result in zip(rows, results, strict=True):
        if not isinstance(result, LoopResult):
            raise ValueError(f"row {i} has no prediction: {result.detail}")
        found.append((result.tpot_ms, result.ttft_ms))
    tpot, ttft = np.array(found).T
    return Predicted(tpot, ttft, throughput(data.take(np.array(rows)), ttft, tpot))


def draws(group: str, size: int, count: int) -> Iterator[Rows]:
    """Yield which of a group's rows are measured, draw by draw; nothing where no row would be left to score."""
    if size <= count:
        return
    for draw in range(DRAWS):
        random = np.random.default_rng(zlib.crc32(f"{group}|{count}|{draw}".encode()))
        yield random.choice(size, count, replace=False).astype(np.intp)


def few_shot_of(data: Dataset, group: str) -> Found:
    """Return for every count the scored rows of all draws of one group and their errors, mixed and apart by themselves."""
    members = np.flatnonzero(np.array(data.group) == group)
    base, shot = coefficients_without(data, members.tolist()), priors.committed()
    found: Found = {count: ([], []) for count in COUNTS}
    for role, of_role in (("mixed", data.is_mixed[members]), ("apart", ~data.is_mixed[members])):
        own = members[of_role]
        for count in COUNTS:
            for drawn in draws(f"{group}|{role}", own.size, count):
                measured = [measurement_of(data, int(i)) for i in own[drawn]]
                own_cells = own_of(base, fit_cells(base, measured, shot), measured, shot)
                perf = Calibrated(base.with_own(own_cells))
                rest = np.delete(own, drawn)
                found[count][0].extend(rest.tolist())
                found[count][1].append(errors_of(data.take(rest), predicted_by(perf, data, rest.tolist())))
    return found


def joined(parts: Sequence[Found], count: int) -> Errors:
    """Join the groups' errors after so many measurements."""
    rows = [i for part in parts for i in part[count][0]]
    errors = np.concatenate([e for part in parts for e in part[count][1]], axis=1)
    return Errors(np.array(rows, dtype=np.intp), *errors)
