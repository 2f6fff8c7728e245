"""Fewer runs than one for each fault at each request: many faults in one run, or one by lot.

$FAULT_SEED is another lot, for whoever has the time for many.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Sequence

from tests.faults.fault_proxy import Exchange, Fault, Request
from tests.faults.scenarios import Outcome, Place, check_conduct, spoilt_run

SEED = int(os.environ.get("FAULT_SEED", "0"))
MAX_RUNS = 400
_QUIET_RUNS = 3
"""So many runs without anything new, as the order of requests differs between runs."""


class Storm:
    """Spoils requests until every fault has met the request of every index that it can meet.

    No request is spoilt so often in one run that it could not succeed at last.
    """

    def __init__(self, faults: Sequence[Fault], indices: int, blobs: int) -> None:
        """The first `indices` requests of each run; `blobs` go to one repository."""
        self.left = {fault.name: set(range(indices)) for fault in faults}
        self.spoilt = 0
        """In this run."""
        self._faults = faults
        self._blobs = blobs
        self._random = random.Random(SEED)  # noqa: S311
        self._index = 0
        self._times: Counter[str] = Counter()

    def begin(self) -> None:
        """A new run."""
        self.spoilt = self._index = 0
        self._times.clear()

    def fault_for(self, request: Request) -> Fault | None:
        index = self._index
        self._index += 1
        times = self._blobs if "/blobs/uploads/" in request.name else 1
        if self._times[request.name] >= times:
            return None
        possible = [
            fault
            for fault in self._faults
            if index in self.left[fault.name] and fault.meets(request)
        ]
        if not possible:
            return None
        fault = self._random.choice(possible)
        self.left[fault.name].discard(index)
        self._times[request.name] += 1
        self.spoilt += 1
        return fault


def weather(
    place: Place,
    faults: Sequence[Fault],
    run: Callable[[], None],
    check: Callable[[Outcome], None],
    *,
    blobs: int,
) -> dict[str, int]:
    """Runs succeed in a storm of faults that nobody notices; how many requests each has met."""
    run()
    indices = _requests_of(place, run)
    storm = Storm(faults, indices, blobs)
    quiet = 0
    for number in range(MAX_RUNS):
        storm.begin()
        error, asked = spoilt_run(place, storm, run)
        outcome = Outcome(f"run {number} of seed {SEED}", (), error, asked)
        check_conduct(place, outcome, blobs)
        check(outcome)
        quiet = 0 if storm.spoilt else quiet + 1
        if quiet == _QUIET_RUNS:
            return {name: indices - len(left) for name, left in storm.left.items()}
    raise AssertionError(f"not over after {MAX_RUNS} runs: {storm.left}")


def one_of(name: str, faults: Sequence[Fault]) -> Fault:
    """What goes on is drawn by lot for each request."""
    draw = random.Random(SEED)  # noqa: S311

    def act(exchange: Exchange) -> None:
        draw.choice([fault for fault in faults if fault.meets(exchange.request)]).act(exchange)

    return Fault(name, act, lambda request: any(fault.meets(request) for fault in faults))


class Lot:
    """Spoils the request of one index, or all from there on, in a way that is drawn by lot."""

    def __init__(self, faults: Sequence[Fault], at: int, forever: bool) -> None:
        self.drawn: Fault | None = None
        self._faults = faults
        self._at = at
        self._forever = forever
        self._index = 0
        self._random = random.Random(f"{SEED} {at}")  # noqa: S311

    def fault_for(self, request: Request) -> Fault | None:
        index = self._index
        self._index += 1
        if self.drawn:
            return self.drawn if self._forever and self.drawn.meets(request) else None
        possible = [fault for fault in self._faults if fault.meets(request)]
        if index >= self._at and possible:
            self.drawn = self._random.choice(possible)
        return self.drawn


def lottery(
    place: Place,
    faults: Sequence[Fault],
    run: Callable[[], None],
    check: Callable[[Outcome], None],
    *,
    blobs: int,
    forever: bool = False,
) -> Counter[str]:
    """Each request of a run meets one of the faults; how often each was drawn."""
    drawn: Counter[str] = Counter()
    for at in range(_requests_of(place, run)):
        lot = Lot(faults, at, forever)
        error, asked = spoilt_run(place, lot, run)
        if fault := lot.drawn:
            drawn[fault.name] += 1
            outcome = Outcome(f"{fault}#{at} of seed {SEED}", fault.errors, error, asked)
            check_conduct(place, outcome, blobs)
            check(outcome)
    return drawn


def _requests_of(place: Place, run: Callable[[], None]) -> int:
    place.proxy.clear()
    run()
    return len(place.proxy.asked)
