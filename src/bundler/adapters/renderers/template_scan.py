"""Reads Go templates as far as it takes to know which functions may run.

Comments and strings are not taken for code. What a body includes by a name that is worked out
while it runs may be any template, or any whose name begins as the worked-out one does.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

_STRING = r'"(?:\\.|[^"\\\n])*+"|`[^`]*+`'
_RUNE = r"'(?:\\.|[^'\\\n])*+'"
_COMMENT = re.compile(r"\{\{(?:-\s)?\s*/\*")
_CODE = re.compile(rf"""\{{\{{((?:{_STRING}|{_RUNE}|(?!\}}\}})[^"'`])*+)\}}\}}""")
_TOKEN = re.compile(
    rf"(?P<string>{_STRING})|(?P<rune>{_RUNE})|(?P<field>[.$][\w.$]*)|(?P<word>[A-Za-z_]\w*)|[()|]",
)
_OPENS = ("if", "range", "with")
_CALLS_TEMPLATE = ("include", "template", "block")
_FORMATS = ("printf", "print")
_BASE_PATH = ".Template.BasePath"
"""What the name of a whole file begins with: those that do not run by themselves matter."""


class Call(NamedTuple):
    function: str
    line: int


@dataclass(frozen=True)
class Body:
    """What the text of a template, or of a `define` in it, does when it runs."""

    file: str
    pointer: str | None = None
    """Where its text stands in a file of values."""
    calls: list[Call] = field(default_factory=list)
    includes: set[str] = field(default_factory=set)
    """Names of templates."""
    included_prefixes: set[str] = field(default_factory=set)
    """How names begin that are worked out; empty for any name."""
    evaluated_files: set[str] = field(default_factory=set)
    """Files of the chart that are given to `tpl`; empty for any file."""

    @property
    def evaluates(self) -> bool:
        """Whether it takes texts for templates."""
        return any(call.function == "tpl" for call in self.calls)


@dataclass(frozen=True)
class Parsed:
    body: Body
    defined: Mapping[str, Sequence[Body]]


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


@lru_cache(maxsize=10_000)
def parse(text: str, file: str, pointer: str | None = None) -> Parsed:
    """The body of a text and of each template that it defines; many targets have the same."""
    lines = [match.end() for match in re.finditer("\n", text)]
    body = Body(file, pointer)
    defined: dict[str, list[Body]] = {}
    current: list[Body] = [body]
    for tokens in _actions(text):
        first = tokens[0].text if tokens and tokens[0].kind == "word" else ""
        _note(tokens, current[-1], lines)
        if first in ("define", "block"):
            opened = Body(file, pointer)
            defined.setdefault(_name(tokens), []).append(opened)
            current.append(opened)
        elif first in _OPENS:
            current.append(current[-1])
        elif first == "end" and len(current) > 1:
            current.pop()
    return Parsed(body, defined)


def _actions(text: str) -> Iterator[list[_Token]]:
    """The tokens between `{{` and `}}`, comments left out; nothing behind one that has no end."""
    position = text.find("{{")
    while position >= 0:
        if comment := _COMMENT.match(text, position):
            end = text.find("*/", comment.end())
        elif code := _CODE.match(text, position):
            yield _tokens(code[1], code.start(1))
            end = code.end()
        else:
            end = -1  # helm refuses such a file
        position = text.find("{{", end) if end >= 0 else -1


def _tokens(code: str, start: int) -> list[_Token]:
    return [
        _Token(match.lastgroup or "sign", match[0], start + match.start())
        for match in _TOKEN.finditer(code)
        if match.lastgroup != "rune"
    ]


def _name(tokens: Sequence[_Token]) -> str:
    return _unquoted(tokens[1].text) if len(tokens) > 1 else ""


def _unquoted(text: str) -> str:
    return text[1:-1]


def _note(tokens: Sequence[_Token], body: Body, lines: Sequence[int]) -> None:
    """Add what one action does to the body that it stands in."""
    for index, token in enumerate(tokens):
        if token.kind != "word":
            continue
        body.calls.append(Call(token.text, bisect(lines, token.position) + 1))
        if token.text in _CALLS_TEMPLATE:
            _note_include(tokens[index + 1 : index + 6], body)
    words = {token.text for token in tokens if token.kind == "word"}
    if "tpl" in words and any(".Files" in token.text for token in tokens if token.kind == "field"):
        named = {_unquoted(token.text) for token in tokens if token.kind == "string"}
        body.evaluated_files.update(named or {""})


def _note_include(arguments: Sequence[_Token], body: Body) -> None:
    words = [token for token in arguments if token.text != "("]
    if len(words) > 1 and words[0].text in _FORMATS and words[1].text.endswith(_BASE_PATH):
        path = _unquoted(words[2].text) if len(words) > 2 and words[2].kind == "string" else "/_"
        body.included_prefixes.add(f"templates{path}")
        return
    if arguments and arguments[0].kind == "string":
        body.includes.add(_unquoted(arguments[0].text))
    elif len(words) > 1 and words[0].text in _FORMATS and words[1].kind == "string":
        body.included_prefixes.add(_unquoted(words[1].text).partition("%")[0])
    else:
        body.included_prefixes.add("")


def reachable(roots: Iterable[Body], defined: Mapping[str, Sequence[Body]]) -> Iterator[Body]:
    """The roots and all that they may include, each once."""
    waiting = list(roots)
    seen: set[int] = set()
    while waiting:
        body = waiting.pop()
        if id(body) in seen:
            continue
        seen.add(id(body))
        yield body
        prefixes = tuple(body.included_prefixes)
        for name, bodies in defined.items():
            if name in body.includes or (prefixes and name.startswith(prefixes)):
                waiting += bodies
