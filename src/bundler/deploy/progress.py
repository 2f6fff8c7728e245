"""What a run tells while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bundler.model.objects import ObjectRef


class Progress(NamedTuple):
    """One step: `wave` is where, `word` is an action or one of the words below."""

    wave: str
    word: str
    ref: ObjectRef
    message: str = ""

    def __str__(self) -> str:
        message = "" if self.message in ("", self.word) else f": {self.message}"
        return f"{self.ref} {self.word}{message}"


WAITING, READY = "waiting", "ready"
STILL = "still waiting"
"""Nothing has changed for a while; one object stands for all that are waited for."""
LOG = "log"
"""A line of a failing container's log, for whoever looks on: it is recorded nowhere."""

OnProgress = Callable[[Progress], None]
