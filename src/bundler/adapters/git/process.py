"""Runs `git` on one repository, with settings under which nothing of the repository is run.

Plumbing commands with fixed argument lists; no hook, pager, alias, graft or replacement has a say.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from bundler.adapters.git.errors import failure_of, git_missing

_SETTINGS = {
    "advice.graftFileDeprecated": "false",
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "core.deltaBaseCacheLimit": "256m",  # long histories take half the time
    "gc.auto": "0",  # a partial clone fetches while we read
    "i18n.logOutputEncoding": "UTF-8",
    "maintenance.auto": "false",
    "protocol.ext.allow": "never",
}
_ENVIRONMENT = {
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_HOOK_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_NAMESPACE")
_CHUNK_BYTES = 1 << 20
NO_TRANSPORT = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
"""For what must be read as it is here: nothing is fetched, so no transport is run."""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What git gets of ours: not what a hook was given, and nothing that changes its answers."""
    inherited = {k: v for k, v in os.environ.items() if k not in _HOOK_VARIABLES}
    return inherited | _ENVIRONMENT | dict(more or {})


def settings() -> list[str]:
    return [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]


class Git:
    """One git directory. Failures are `bundler.errors`, with git's own words."""

    def __init__(self, git_dir: Path, more: Mapping[str, str] | None = None) -> None:
        self.git_dir = git_dir
        self._more = more

    def output(
        self,
        *arguments: str,
        failure: bytes | None = None,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
    ) -> bytes:
        """The output of one command; `failure` is the answer where git exits non-zero.

        Raises what git's words mean where `failure` is not given.
        """
        try:
            completed = subprocess.run(
                self._command(*arguments),
                stdin=stdin,
                capture_output=True,
                check=False,
                env=environment(self._more),
            )
        except FileNotFoundError as error:
            raise git_missing() from error
        if completed.returncode == 0:
            return completed.stdout
        if failure is not None:
            return failure
        raise failure_of(f"git {arguments[0]}", completed.stderr)

    def told(self, lines: Iterable[str], *arguments: str, failure: bytes | None = None) -> bytes:
        """The output of a command that reads these lines."""
        with _as_file(lines) as stdin:
            return self.output(*arguments, failure=failure, stdin=stdin)

    def tokens(
        self, *arguments: str, separator: bytes = b"\0", lines: Iterable[str] = ()
    ) -> Iterator[bytes]:
        """What a command that reads these lines writes, split, as it comes."""
        with self.reading(*arguments, lines=lines) as output:
            rest = b""
            while chunk := output.read1(_CHUNK_BYTES):
                *whole, rest = (rest + chunk).split(separator)
                yield from whole
            if rest:
                yield rest

    @contextmanager
    def reading(self, *arguments: str, lines: Iterable[str] = ()) -> Iterator[BufferedReader]:
        """A command's output as it comes; at the end, its failure if it failed."""
        with _as_file(lines) as stdin, tempfile.TemporaryFile() as words:
            try:
                process = subprocess.Popen(
                    self._command(*arguments),
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=words,
                    env=environment(self._more),
                )
            except FileNotFoundError as error:
                raise git_missing() from error
            with process:
                assert isinstance(process.stdout, BufferedReader)  # noqa: S101  told by PIPE
                yield process.stdout
                if process.stdout.read(1) == b"" and process.wait():
                    words.seek(0)
                    raise failure_of(f"git {arguments[0]}", words.read())

    def _command(self, *arguments: str) -> list[str]:
        return ["git", *settings(), f"--git-dir={self.git_dir}", *arguments]


@contextmanager
def _as_file(lines: Iterable[str]) -> Iterator[IO[bytes]]:
    """A pipe could fill on both sides; a file cannot."""
    with tempfile.TemporaryFile() as file:
        file.writelines(f"{line}\n".encode("utf-8", "surrogateescape") for line in lines)
        file.seek(0)
        yield file
