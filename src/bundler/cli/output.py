"""What commands print: the result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

from bundler.errors import BundlerError
from bundler.model.finding import Finding

_COLOURS = {"red": "31", "yellow": "33", "green": "32", "dim": "2", "bold": "1"}


class Format(StrEnum):
    text = "text"
    json = "json"
    yaml = "yaml"


FORMAT: ContextVar[Format] = ContextVar("format", default=Format.text)
"""Set when the option is parsed, so that errors come in the format that was asked for."""


def show(result: Any, text: Iterable[str]) -> None:
    """Print a result: as a value for machines, or as lines for people."""
    if FORMAT.get() is Format.text:
        for line in text:
            sys.stdout.write(f"{printable(line)}\n")
    else:
        show_value(result)


def show_value(value: Any) -> None:
    if FORMAT.get() is Format.yaml:
        import yaml

        sys.stdout.write(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000))
    else:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def note(text: str) -> None:
    """Progress and remarks, on stderr; whatever comes from outside is made `printable` before."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


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
            sys.stderr.write(f"\r{self._what} {self._done}/{self._total}{end}")
            sys.stderr.flush()


def show_error(error: BundlerError) -> None:
    """An error with all its findings: text on stderr, or a value on stdout."""
    if FORMAT.get() is not Format.text:
        show_value({"error": error_value(error)})
        return
    note(f"{coloured('error', 'red')}: {printable(error.message)}")
    show_findings(error.findings)
    if error.hint:
        note(f"{coloured('hint', 'bold')}: {printable(error.hint)}")


def error_value(error: BundlerError) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "findings": [finding.as_dict() for finding in error.findings],
    }


def show_findings(findings: Iterable[Finding]) -> None:
    for finding in findings:
        mark = coloured("✗", "red") if finding.severity == "error" else coloured("!", "yellow")
        note(f"  {mark} {printable(str(finding))}  [{finding.rule}]")
        if finding.hint:
            note(f"      {coloured(printable(finding.hint), 'dim')}")


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
