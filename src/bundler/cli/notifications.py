"""Who is told of an apply: a file of events, webhooks, a file of metrics (docs/events.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bundler.cli import wiring_notifications
from bundler.deploy.events import Event, OnEvent
from bundler.errors import UsageError

_SECONDS, _SECONDS_WHEN_INTERRUPTED = 10.0, 2.0
"""How long webhooks are waited for in the end."""


class Listeners(NamedTuple):
    events: Path | None = None
    webhooks: Path | None = None
    metrics: Path | None = None


@contextmanager
def told(listeners: Listeners, *, dry_run: bool = False) -> Iterator[OnEvent]:
    """Tells of events inside the block. Raises UsageError before anything is done.

    A dry run tells nobody: nothing becomes of it.
    """
    if str(listeners.events) == "-":
        raise UsageError("--events needs a file", hint="standard output is for the result")
    if dry_run:
        yield lambda _: None
        return
    figures = wiring_notifications.metrics_file(listeners.metrics) if listeners.metrics else None
    hooks = wiring_notifications.webhooks(listeners.webhooks)
    file = wiring_notifications.event_file(listeners.events) if listeners.events else None

    def on_event(event: Event) -> None:
        value = event.as_dict()
        for tell in (file, hooks, figures):
            if tell:
                tell(value)

    seconds = _SECONDS_WHEN_INTERRUPTED
    try:
        yield on_event
        seconds = _SECONDS
    except Exception:
        seconds = _SECONDS
        raise
    finally:
        if hooks:
            hooks.close(seconds)
        for written in (file, figures):
            if written:
                written.close()
