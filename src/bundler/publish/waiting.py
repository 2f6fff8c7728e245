"""Waiting for images whose builds still run: a tag is often pushed together with its commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

FIRST_PAUSE = 3.0
LONGEST_PAUSE = 30.0
TOLD_EVERY = 60.0
_SHOWN = 5


@dataclass(frozen=True)
class Waiting:
    """How long to wait, in seconds, and by which clock; not at all by default."""

    seconds: float = 0
    monotonic: Callable[[], float] = lambda: 0.0
    sleep: Callable[[float], None] = lambda _: None
    tell: Callable[[str], None] = lambda _: None

    def begin(self) -> Pauses:
        return Pauses(self)


class Pauses:
    """The pauses of one wait, each longer than the one before."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._end = waiting.monotonic() + waiting.seconds
        self._next = FIRST_PAUSE
        self._told: tuple[float, Sequence[str]] = (float("-inf"), ())

    def pause(self, missing: Sequence[str], reason: str | None = None) -> bool:
        """Wait a while for what is missing; False, at once, where the time is over.

        The last pause ends with the time, so that nothing is given up too early.
        """
        now = self._waiting.monotonic()
        left = self._end - now
        if left <= 0:
            return False
        if missing != self._told[1] or now - self._told[0] >= TOLD_EVERY:
            why = f": {reason}" if reason else ""
            self._waiting.tell(f"waiting for {_listed(missing)}; {_duration(left)} left{why}")
            self._told = (now, missing)
        self._waiting.sleep(min(self._next, left))
        self._next = min(self._next * 1.5, LONGEST_PAUSE)
        return True


def _listed(names: Sequence[str]) -> str:
    count = f"{len(names)} service{'s' if len(names) > 1 else ''}"
    more = ", …" if len(names) > _SHOWN else ""
    return f"{count} ({', '.join(names[:_SHOWN])}{more})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
