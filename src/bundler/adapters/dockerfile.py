"""What a Dockerfile copies from its build context, read from its text alone."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_INSTRUCTION = re.compile(
    r"\s*(?:ONBUILD\s+)?(COPY|ADD|RUN|ARG|ENV)\s+(.*)", re.IGNORECASE | re.DOTALL
)
_FLAG = re.compile(r"--[a-z-]+(?:=(?:\"[^\"]*\"|\S*))?\s+")
_BIND = re.compile(r"--mount=(\S*type=bind\S*)")
_HEREDOC = re.compile(r"<<-?\s*[\"']?([A-Za-z_][A-Za-z0-9_]*)[\"']?")
_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)(?::?-([^}]*))?\}|([A-Za-z_]\w*))")
_WORD = re.compile(r"\"([^\"]*)\"|'([^']*)'|(\S+)")
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|git@")


class Instruction(NamedTuple):
    name: str
    arguments: str


def copied(text: str) -> tuple[str, ...]:
    """The sources of COPY, ADD and bind mounts that come from the build context, sorted.

    Left out is what comes from other stages and images, URLs and texts that stand in the file. A
    variable that has no default in the file stays as it is written.
    """
    values: dict[str, str] = {}
    sources: set[str] = set()
    for instruction in _instructions(text):
        if instruction.name in ("ARG", "ENV"):
            for name, value in _SETTING.findall(instruction.arguments):
                values.setdefault(name, value.strip("\"'"))
        elif instruction.name == "RUN":
            sources.update(_bound(instruction.arguments))
        else:
            sources.update(_sources(instruction.arguments, values))
    return tuple(sorted(sources))


def _instructions(text: str) -> Iterator[Instruction]:
    escape = "`" if re.match(r"(?:#.*\n)*#\s*escape\s*=\s*`", text, re.IGNORECASE) else "\\"
    lines = deque(text.splitlines())
    while lines:
        whole = lines.popleft()
        if whole.lstrip().startswith("#"):
            continue
        while whole.rstrip().endswith(escape):
            whole = whole.rstrip()[:-1] + " " + _continuation(lines)
        found = _INSTRUCTION.match(whole)
        if not found:
            continue
        for end in _HEREDOC.findall(whole):
            _skip_text(lines, end)
        yield Instruction(found[1].upper(), found[2])


def _continuation(lines: deque[str]) -> str:
    """The next line that is neither a comment nor empty; empty at the end of the file."""
    while lines:
        line = lines.popleft()
        if line.strip() and not line.lstrip().startswith("#"):
            return line
    return ""


def _skip_text(lines: deque[str], end: str) -> None:
    """Leave out a text that stands in the file; `1<<BITS` in a command begins none."""
    if any(line.strip() == end for line in lines):
        while lines.popleft().strip() != end:
            pass


def _sources(arguments: str, values: Mapping[str, str]) -> Iterator[str]:
    while flag := _FLAG.match(arguments):
        if flag[0].startswith("--from"):
            return
        arguments = arguments[flag.end() :]
    for word in _words(arguments)[:-1]:
        source = _VARIABLE.sub(lambda found: _value(found, values), word)
        if source and not _REMOTE.match(source) and not source.startswith("<<"):
            yield source


def _words(arguments: str) -> list[str]:
    if arguments.lstrip().startswith("["):
        try:
            listed = json.loads(arguments)
        except ValueError:
            return []
        return [word for word in listed if isinstance(word, str)]
    return ["".join(found) for found in _WORD.findall(arguments)]


def _value(found: re.Match[str], values: Mapping[str, str]) -> str:
    return values.get(found[1] or found[3]) or found[2] or found[0]


def _bound(arguments: str) -> Iterator[str]:
    for mount in _BIND.findall(arguments):
        options = dict(part.partition("=")[::2] for part in mount.split(","))
        source = options.get("source") or options.get("src") or "."
        if "from" not in options:
            yield source
