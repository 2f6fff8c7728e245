"""What commands print: the result on stdout, everything else on stderr."""

from __future__ import annotations

import collections
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from bundler.errors import BundlerError
from bundler.model.finding import Finding

_MANY = 10
_COLOURS = {"red": "31", "yellow": "33", "green": "32", "dim": "2", "bold": "1"}


class Format(StrEnum):
    text = "text"
    json = "json"
    yaml = "yaml"
    sarif = "sarif"
    """For the commands that are about findings; docs/rules.md."""


FORMAT: ContextVar[Format] = ContextVar("format", default=Format.text)
"""Set when the option is parsed, so that errors come in the format that was asked for."""


def show(result: Any, text: Iterable[str], findings: Iterable[Finding] = ()) -> None:
    """Print a result: as a value for machines, or as lines for people.

    As SARIF it is the findings alone, and the lines stand aside.
    """
    lines = (printable(line) for line in text)
    if FORMAT.get() is Format.text:
        write("".join(f"{line}\n" for line in lines))
    elif FORMAT.get() is Format.sarif:
        for line in lines:
            note(line)
        _write_sarif(findings)
    else:
        show_value(result)


def _write_sarif(findings: Iterable[Finding], error: BundlerError | None = None) -> None:
    from bundler.cli.sarif import log

    write(json.dumps(log(findings, error), indent=2, ensure_ascii=False) + "\n")


def show_value(value: Any) -> None:
    if FORMAT.get() is Format.yaml:
        import yaml

        write(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000))
    else:
        write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write(text: str) -> None:
    """Write to stdout, whole or not at all for a reader that is gone. Raises BundlerError."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _lead_nowhere(sys.stdout)
    except OSError as error:
        _lead_nowhere(sys.stdout)
        raise BundlerError(
            f"the result cannot be written: {(error.strerror or '').lower()}",
            hint="what it tells of has been done: look at where standard output leads",
        ) from error


def note(text: str) -> None:
    """Progress and remarks, on stderr; whatever comes from outside is made `printable` before."""
    _write_aside(f"{text}\n")


def _write_aside(text: str) -> None:
    """Write to stderr; that nobody listens any more is no reason to stop in the middle."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _lead_nowhere(sys.stderr)


def _lead_nowhere(stream: TextIO) -> None:
    """Drop what is and will be written, so that the end of the process does not fail on it."""
    number = os.open(os.devnull, os.O_WRONLY)
    os.dup2(number, stream.fileno())
    os.close(number)


def open_streams() -> None:
    """Make all three streams usable: a closed one leads nowhere, and any text can be written."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Before the process ends without Python's own clearing up."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()


class Counter:
    """`resolved 12/40` on one line of a terminal; silent elsewhere."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._shown = sys.stderr.isatty()

    def step(self, _: str) -> None:
        self._done += 1
        if self._shown:
            end = "\n" if self._done == self._total else ""
            _write_aside(f"\r{self._what} {self._done}/{self._total}{end}")


def show_error(error: BundlerError) -> None:
    """An error with all its findings: text on stderr, or a value on stdout."""
    if FORMAT.get() is Format.sarif:
        _write_sarif(error.findings, error)
    elif FORMAT.get() is not Format.text:
        show_value({"error": error_value(error)})
        return
    note(f"{coloured('error', 'red')}: {printable(error.message)}")
    told = {error.hint} if error.hint else set()
    show_findings([f for f in error.findings if not _is_said(f, error.message)], told)
    if error.hint:
        note(f"{coloured('hint', 'bold')}: {printable(error.hint)}")


def _is_said(finding: Finding, message: str) -> bool:
    """Whether an error's message says what the finding does, of the same object."""
    return finding.message in message and (finding.object or "") in message


def error_value(error: BundlerError) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "findings": [finding.as_dict() for finding in error.findings],
    }


def show_findings(findings: Iterable[Finding], told: Iterable[str] = ()) -> None:
    """All of them, errors first, each rule's together, and a count where they are many.

    Each hint once, and not those that are `told` elsewhere.
    """
    told = set(told)
    in_order = sorted(findings, key=_order)
    for finding in in_order:
        mark = coloured("✗", "red") if finding.severity == "error" else coloured("!", "yellow")
        note(f"  {mark} {printable(str(finding))}  [{finding.rule}]")
        if finding.hint and finding.hint not in told:
            note(f"      {coloured(printable(finding.hint), 'dim')}")
            told.add(finding.hint)

    if len(in_order) > _MANY:
        rules = collections.Counter(finding.rule for finding in in_order)
        counts = ", ".join(f"{count} {rule}" for rule, count in rules.items())
        note(f"  {len(in_order)} findings: {counts}")


def _order(finding: Finding) -> tuple[bool, str, str, str]:
    """Within a place they stay as they were found, which is the document's order."""
    environment, place = finding.environment or "", finding.object or finding.file or ""
    return finding.severity != "error", finding.rule, environment, place


def table(rows: Sequence[Sequence[object]], heads: Sequence[str] = ()) -> list[str]:
    """Rows as aligned columns."""
    cells = [list(heads)] if heads else []
    cells += [[str(cell) for cell in row] for row in rows]
    widths = (
        [max(len(row[column]) for row in cells) for column in range(len(cells[0]))] if cells else []
    )
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def short(digest: object) -> str:
    """The first twelve digits of a digest or commit."""
    return str(digest).removeprefix("sha256:")[:12]


def coloured(text: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if sys.stderr.isatty() else text


def printable(text: str) -> str:
    """Text without the control characters that manifests or servers could have put there."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
