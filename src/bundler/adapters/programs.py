"""Runs another program: fixed arguments, a given environment, bounded time and output."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

_CHUNK = 64 * 1024
_GRACE = 1.0
"""Seconds for what a program wrote before it ended to be read."""
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
    """Keeps at most `limit` bytes of a pipe; closes it there, or reads on to its end."""

    def __init__(self, pipe: IO[bytes], limit: int, *, reads_on: bool) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._limit = limit
        self._reads_on = reads_on
        self._parts: list[bytes] = []
        self._size = 0

    def run(self) -> None:
        with self._pipe:
            while chunk := self._pipe.read(_CHUNK):
                if not self.overflowed:
                    self._parts.append(chunk)
                self._size += len(chunk)
                if self.overflowed and not self._reads_on:
                    break

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
    words_in: bytes = b"",
) -> Completed:
    """Run a program; `words_in` are its standard input, whether it reads them or not.

    Raises TimeLimit, OutputLimit, and OSError where it cannot be started.
    """
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE if words_in else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=dict(environment),
        bufsize=0,
        start_new_session=True,
    )
    assert process.stdout and process.stderr  # noqa: S101  both are pipes
    output = _Reader(process.stdout, max_output, reads_on=False)
    words = _Reader(process.stderr, MAX_WORDS, reads_on=True)
    output.start()
    words.start()
    if process.stdin:
        threading.Thread(target=_give, args=(process.stdin, words_in), daemon=True).start()
    ended = threading.Thread(target=process.wait, daemon=True)
    ended.start()
    is_late = True  # also when we are interrupted
    try:
        ended.join(seconds)  # unlike `wait` with a timeout, it does not poll
        is_late = ended.is_alive()
    finally:
        if is_late or not _have_ended(output, words):
            # The program itself, or a child that it left behind and that holds the pipes open.
            with suppress(ProcessLookupError, PermissionError):  # macOS: none but a zombie left
                os.killpg(process.pid, signal.SIGKILL)
            ended.join()
            _have_ended(output, words)
    if is_late:
        raise TimeLimit(f"not done after {seconds:g} s")
    if output.overflowed:
        raise OutputLimit(f"wrote more than {max_output} bytes")
    return Completed(process.returncode, output.content, words.content.decode(errors="replace"))


def _give(pipe: IO[bytes], words: bytes) -> None:
    """Write all that is read; who does not read is killed at the time limit, which ends this."""
    left = memoryview(words)
    with suppress(OSError), pipe:
        while left:
            left = left[pipe.write(left) :]


def _have_ended(*readers: _Reader) -> bool:
    for reader in readers:
        reader.join(_GRACE)
    return not any(reader.is_alive() for reader in readers)
