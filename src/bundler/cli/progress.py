"""What is shown while a target is changed: a table on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from bundler.cli import output
from bundler.cli.deployments import ProgressLines
from bundler.deploy.progress import READY, STILL, WAITING, OnProgress, Progress
from bundler.model.objects import ObjectRef

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_MARGIN = 6
"""Lines of the terminal that the table leaves free."""


@contextmanager
def shown() -> Iterator[OnProgress]:
    """Takes what is told inside `with`, and shows it on stderr."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield ProgressLines()
        return
    table = LiveTable()
    try:
        yield table
    finally:
        table.close()


class _Row(NamedTuple):
    message: str
    since: float


class LiveTable:
    """A line for each change, and below them a table of all that is waited for at the moment."""

    def __init__(self) -> None:
        self._rows: dict[ObjectRef, _Row] = {}
        self._ready = 0
        self._live: Live | None = None
        self._lock = threading.Lock()

    def __call__(self, progress: Progress) -> None:
        if self._take(progress):
            output.note(f"  {output.printable(str(progress))}")
        if not self._rows:
            self.close()

    def _take(self, progress: Progress) -> bool:
        """Bring the table up to date; whether there is to be a line as well."""
        with self._lock:
            if progress.word == WAITING:
                former = self._rows.get(progress.ref)
                since = former.since if former else time.monotonic()
                self._rows[progress.ref] = _Row(progress.message, since)
                self._show()
                return False
            if progress.word == READY:
                self._ready += 1
                return self._rows.pop(progress.ref, None) is not None
            return progress.word not in (STILL, "unchanged")

    def close(self) -> None:
        """Take the table away; what it showed last is not what became of it."""
        with self._lock:
            live, self._live = self._live, None
            self._rows.clear()
            self._ready = 0
        if live:
            live.stop()

    def _show(self) -> None:
        if self._live is not None:
            return
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            get_renderable=self._table,
            console=Console(file=sys.stderr),
            refresh_per_second=2,
            transient=True,
            redirect_stdout=False,  # the result goes there, and nothing else
        )
        self._live.start()

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        # Without our lock, as the screen's is held here and taken under ours elsewhere.
        rows = sorted(self._rows.copy().items(), key=lambda row: row[1].since)
        ready, live = self._ready, self._live
        table = Table(box=None, pad_edge=True, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True, style="dim")
        table.add_column(no_wrap=True, overflow="ellipsis")
        room = max((live.console.height if live else 24) - _MARGIN, 3)
        for ref, row in rows[:room]:
            seconds = f"{time.monotonic() - row.since:.0f} s"
            words = (Text(output.printable(text)) for text in (str(ref), seconds, row.message))
            table.add_row(*words)
        more = f", {len(rows) - room} more" if len(rows) > room else ""
        table.add_row(Text(f"{ready} ready, {len(rows)} waited for{more}", style="bold"), "", "")
        return table
