"""Appends events to a file, one JSON line each, for programs that follow it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bundler.errors import UsageError


class EventFile:
    """A line is written at once and whole, so that several runs may share a file.

    Never raises once it is open; `tell` gets the first failure.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        """Raises UsageError where the file cannot be written."""
        self._path = path
        self._tell = tell
        self._has_failed = False
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
            self._file = os.open(path, flags, 0o644)
        except OSError as error:
            raise UsageError(
                f"{path}: events cannot be written there: {(error.strerror or '').lower()}",
                hint="name a file in a folder that is there and may be written to",
            ) from error

    def __call__(self, event: Mapping[str, Any]) -> None:
        line = json.dumps(event, ensure_ascii=False).encode(errors="replace") + b"\n"
        try:
            while line:  # a pipe may take it in pieces
                line = line[os.write(self._file, line) :]
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                self._tell(f"{self._path}: an event is lost: {(error.strerror or '').lower()}")

    def close(self) -> None:
        os.close(self._file)
