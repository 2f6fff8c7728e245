"""How long to wait for a registry, how often to ask it, and when to leave it alone.

One `AskedHost` for each host holds what all threads together have met there: so many services
neither wait one after the other for a host that is down, nor storm one that wants a rest.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from bundler.errors import Unreachable

CONNECTIONS = 16
"""At most so many requests to a host at one time."""
_random = random.SystemRandom()


@dataclass(frozen=True)
class Patience:
    """Seconds, and a number of attempts."""

    connect: float = 5
    read: float = 30
    """Between two pieces of an answer, and until its headers have ended."""
    answer: float = 600
    """For the body of an answer; for each MiB of it where it is streamed."""
    attempts: int = 5
    retrying: float = 90
    """No attempt starts later than this after the first one."""
    first_pause: float = 0.25
    longest_pause: float = 20
    longest_asked_pause: float = 60
    """The most that a server's own Retry-After can ask for."""
    silence: float = 90
    """A host that gave no useful answer for so long is not asked any more."""
    settling: float = 0.5
    """A tag that we have set is read again after this, or later if the registry is slow."""
    given_up: float = 30
    """For so long after it was in vain: a host without connection is not tried, others once."""

    def pause(self, attempt: int, retry_after: float | None) -> float:
        """Full jitter, doubling with each attempt; or as long as the server asks for."""
        if retry_after is not None:
            return min(retry_after, self.longest_asked_pause)
        return _random.uniform(0, min(self.first_pause * 2**attempt, self.longest_pause))


class Broken(Unreachable):
    """A failure that the next attempt may not meet."""

    def __init__(self, host: str, words: str, hint: str | None = None) -> None:
        super().__init__(f"{host} {words}", hint=hint)
        self.host = host
        self.words = words


class Unconnected(Broken):
    """No connection at all: the host is down, its name is wrong, or the way there is closed."""


class _Silence(NamedTuple):
    """A stretch of questions without a useful answer, and what the last one brought instead."""

    since: float
    last: float
    words: str


class AskedHost:
    """One host, as all who ask it have met it; thread-safe."""

    def __init__(self, name: str, patience: Patience, connections: int) -> None:
        self.name = name
        self._patience = patience
        self._places = threading.BoundedSemaphore(connections)
        self._lock = threading.Lock()
        self._paused_until = 0.0
        self._in_vain_at = self._tried_again_at = 0.0
        self._unconnected: Unconnected | None = None
        self._silence: _Silence | None = None

    def attempts(self, asked_at: float) -> int:
        """How often a question of that time may be asked: once soon after another was in vain."""
        return 1 if self._in_vain_at <= asked_at < self._tried_again_at else self._patience.attempts

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places for questions, after the pause that the host has asked for.

        Raises Unreachable where the host is not asked any more.
        """
        with self._places:
            while (pause := self._paused_until - time.monotonic()) > 0:
                self._check()
                time.sleep(pause)
            self._check()
            yield

    def _check(self) -> None:
        now = time.monotonic()
        if self._unconnected and now < self._tried_again_at:
            raise Unreachable(self._unconnected.message, hint=self._unconnected.hint)
        silence = self._silence
        if silence and now - silence.since > self._patience.silence and now < self._rested(silence):
            raise Unreachable(
                f"{self.name} has given no useful answer for {now - silence.since:.0f} s: "
                f"{silence.words}",
                hint="try again later",
            )

    def _rested(self, silence: _Silence) -> float:
        """When so long nothing was asked that what was before says little."""
        return max(silence.last, self._paused_until) + self._patience.given_up

    def was_useful(self) -> None:
        """It has answered the question."""
        self._silence = None

    def was_useless(self, asked_at: float, words: str) -> None:
        """It has not answered, or only that it cannot."""
        now = time.monotonic()
        with self._lock:
            old = self._silence
            is_longer = old is not None and asked_at < self._rested(old)
            since = min(old.since, asked_at) if old and is_longer else asked_at
            self._silence = _Silence(since, now, words)

    def wants_rest(self, seconds: float) -> None:
        """Nobody asks before so many seconds have passed."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def was_in_vain(self, error: Broken | None) -> None:
        """All attempts of a question are used up; by an error, or by answers of no use."""
        with self._lock:
            self._unconnected = error if isinstance(error, Unconnected) else None
            self._in_vain_at = time.monotonic()
            resting = max(self._in_vain_at, self._paused_until)
            self._tried_again_at = resting + self._patience.given_up
