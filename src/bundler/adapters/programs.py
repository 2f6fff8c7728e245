"""Runs another program: fixed arguments, a given environment, bounded time and output."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

_CHUNK = 64 * 1024
_GRACE = 0.2
"""Seconds for a program that has closed its output to end, and for its last words."""
MAX_WORDS = 64 * 1024
"""Bytes of standard error that are kept."""


class Completed(NamedTuple):
    code: int
    output: bytes
    words: str
    """Standard error, at most MAX_WORDS bytes of it."""


class TimeLimit(Exception):
    """The program was still running and was killed, with all that it had started."""


class OutputLimit(Exception):
    """The program wrote more than was allowed and was killed."""


class _Reader(threading.Thread):
    """Reads a pipe to its end and keeps at most `limit` bytes of it."""

    def __init__(self, pipe: IO[bytes], limit: int) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def run(self) -> None:
        with self._pipe:
            while chunk := self._pipe.read(_CHUNK):
                if not self.overflowed:
                    self._parts.append(chunk)
                self._size += len(chunk)

    @property
    def overflowed(self) -> bool:
        return self._size > self._limit

    @property
    def content(self) -> bytes:
        return b"".join(self._parts)[: self._limit]


def run(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    seconds: float,
    max_output: int,
) -> Completed:
    """Run a program with an empty standard input.

    Raises TimeLimit, OutputLimit, and OSError where it cannot be started.
    """
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=dict(environment),
        bufsize=0,
        start_new_session=True,
    )
    assert process.stdout and process.stderr  # noqa: S101  both are pipes
    output, words = _Reader(process.stdout, max_output), _Reader(process.stderr, MAX_WORDS)
    output.start()
    words.start()
    end = time.monotonic() + seconds
    try:
        output.join(seconds)  # ends with the program, and at once; `wait` alone would poll
        code = process.wait(timeout=max(0.0, end - time.monotonic()) + _GRACE)
    except subprocess.TimeoutExpired:
        raise TimeLimit(f"not done after {seconds:g} s") from None
    finally:
        _finish(process, (output, words))
    if output.overflowed:
        raise OutputLimit(f"wrote more than {max_output} bytes")
    return Completed(code, output.content, words.content.decode(errors="replace"))


def _finish(process: subprocess.Popen[bytes], readers: Sequence[_Reader]) -> None:
    """Kill what still runs: the program, or a child of it that holds its pipes open."""
    for reader in readers:
        reader.join(_GRACE if process.returncode is not None else 0)
    if process.returncode is None or any(reader.is_alive() for reader in readers):
        with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted for a zombie
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for reader in readers:
        reader.join(_GRACE)
