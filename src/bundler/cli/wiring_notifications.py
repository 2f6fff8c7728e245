"""Chooses the adapters of those who are told of an apply."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bundler import __version__
from bundler.cli import output, wiring

if TYPE_CHECKING:
    from bundler.adapters.event_file import EventFile
    from bundler.adapters.metrics_file import MetricsFile
    from bundler.adapters.webhooks import Webhooks


def event_file(path: Path) -> EventFile:
    from bundler.adapters.event_file import EventFile

    return EventFile(path, _warn)


def metrics_file(path: Path) -> MetricsFile:
    from bundler.adapters.metrics_file import MetricsFile

    return MetricsFile(path, _warn)


def webhooks(path: Path | None) -> Webhooks | None:
    """Those of the file and of $BUNDLER_WEBHOOK; None where there are none."""
    if path is None and not os.environ.get("BUNDLER_WEBHOOK"):
        return None
    from bundler.adapters import webhooks_file
    from bundler.adapters.webhooks import Webhooks

    found = webhooks_file.read(path, os.environ, wiring.document_schemas())
    return Webhooks(found, _warn, f"bundler/{__version__}")


def _warn(text: str) -> None:
    output.note(f"warning: {output.printable(text)}")
