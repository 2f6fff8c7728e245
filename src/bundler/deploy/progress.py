"""What a run tells while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bundler.model.objects import ObjectRef


class Progress(NamedTuple):
    """One step: `wave` is where, `word` is an action, `waiting` or `ready`."""

    wave: str
    word: str
    ref: ObjectRef
    message: str = ""

    def __str__(self) -> str:
        message = "" if self.message in ("", self.word) else f": {self.message}"
        return f"{self.ref} {self.word}{message}"


OnProgress = Callable[[Progress], None]
