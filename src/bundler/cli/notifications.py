"""Who is told of an apply: a file of events, webhooks, a file of metrics (docs/events.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bundler.cli import wiring_notifications
from bundler.deploy.events import Event, OnEvent
from bundler.errors import UsageError

_SECONDS, _SECONDS_WHEN_INTERRUPTED = 10.0, 2.0
"""How long webhooks are waited for in the end."""


@contextmanager
def told(
    events: Path | None, webhooks: Path | None, metrics: Path | None = None
) -> Iterator[OnEvent]:
    """Tells of events inside the block. Raises UsageError before anything is done."""
    if str(events) == "-":
        raise UsageError("--events needs a file", hint="standard output is for the result")
    figures = wiring_notifications.metrics_file(metrics) if metrics else None
    hooks = wiring_notifications.webhooks(webhooks)
    file = wiring_notifications.event_file(events) if events else None

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
