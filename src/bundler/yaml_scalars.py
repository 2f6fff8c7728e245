"""Plain scalars that YAML 1.1 and YAML 1.2 read differently, and where they stand.

Both are in use on the way to a cluster: kubectl and helm read YAML 1.1 booleans, kustomize and most
newer tools the core schema of YAML 1.2, others dates. So a text with such a scalar means what its
reader says. `<<` as a key is left out: all of them merge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from bundler.model.finding import Finding, json_pointer

RULE = "ambiguous-scalar"
MAX_FINDINGS = 1_000
_LONGEST = 200
"""Longer ones are texts to everybody who reads manifests: no number has so many digits."""

_WORDS = r"[yYnN]|yes|Yes|YES|[nN]o|NO|[oO]n|ON|[oO]ff|OFF|=|<<"
_NUMBERS = (
    r"[-+]?(?:0b[01_]+|0o[0-7]+|0[0-9_]+|0x[0-9a-fA-F_]+"  # bases, and what starts with 0
    r"|(?=[0-9.]+_)[0-9_.]++(?:[eE][-+]?[0-9]+)?"  # grouped digits
    r"|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"  # base 60
    r"|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+)"  # exponents
)
_DATES = (
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
    r"(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?[ \t]*(?:Z|[-+][0-9:]{1,5})?)?"
)
_CANDIDATE = rf"(?:{_WORDS}|{_NUMBERS}|{_DATES})"
_FIRST = r"[-+.0-9yYnNoO=<&!]"
"""What a candidate starts with, so that most places are left at once."""
_END = r"(?=[ \t\r]*(?:$|[,\]}]|:[ \t\r\n]|[ \t]#))"
_NODE = r"(?:[&!][^\s,\[\]{}]*[ \t]+)*"
"""An anchor and a tag before the scalar."""
_PLACES = tuple(
    re.compile(rf"{before}[ \t]*+(?={_FIRST}){_NODE}{_CANDIDATE}{_END}", re.MULTILINE)
    for before in (r": ", r"\n", r"- ", r"[\[{,]", r"\A", r":\t", r"-\t", r"\? ")
)
_DOCUMENT = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)


class _Meaning(NamedTuple):
    kind: str
    value: object = None

    def __str__(self) -> str:
        return self.kind if self.value is None else f"{self.kind} {self.value}"


_TEXT = _Meaning("a text")


def ambiguous_scalars(text: bytes | str) -> tuple[Finding, ...]:
    """A finding for each, with object, JSON pointer and line; nothing of what is no YAML.

    Text without any costs a few searches. At most MAX_FINDINGS.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if not any(place.search(text) for place in _PLACES):
        return ()
    findings: list[Finding] = []
    for line, document in _documents(text):
        if any(place.search(document) for place in _PLACES):
            findings += _in_document(document, line)
        if len(findings) >= MAX_FINDINGS:
            break
    return tuple(findings[:MAX_FINDINGS])


def _documents(text: str) -> Iterator[tuple[int, str]]:
    """The documents, each from its `---` on, and the number of lines before."""
    starts = [match.start() for match in _DOCUMENT.finditer(text)]
    line = 0
    for start, end in zip([0, *starts], [*starts, len(text)], strict=True):
        yield line, text[start:end]
        line += text.count("\n", start, end)


class _Scalar(NamedTuple):
    path: tuple[str | int, ...]
    is_key: bool
    line: int
    text: str


def _in_document(text: str, line: int) -> list[Finding]:
    found: list[_Scalar] = []
    names: dict[tuple[str | int, ...], str] = {}
    try:
        found += (each for each in _plain_scalars(text, names) if _is_ambiguous(each))
    except yaml.YAMLError:
        return []
    return [_finding(scalar, line, names) for scalar in found]


def _is_ambiguous(scalar: _Scalar) -> bool:
    is_merge = scalar.is_key and scalar.text == "<<"
    return not is_merge and _meanings(scalar.text) is not None


def _finding(scalar: _Scalar, line: int, names: Mapping[tuple[str | int, ...], str]) -> Finding:
    old, new = _meanings(scalar.text) or (_TEXT, _TEXT)
    what = "key" if scalar.is_key else "value"
    return Finding(
        RULE,
        f"{what} {scalar.text} is {old} in YAML 1.1, {new} in YAML 1.2",
        "warning",
        line=line + scalar.line,
        pointer=json_pointer(*scalar.path),
        object=_object(scalar.path, names),
        hint=f'write "{scalar.text}" if it is a text{_plainly(old, new)}',
    )


def _plainly(old: _Meaning, new: _Meaning) -> str:
    """How each number or boolean that it may mean is written so that all agree."""
    values = (str(meaning.value) for meaning in (old, new) if meaning.value is not None)
    plain = [*dict.fromkeys(value for value in values if value not in ("inf", "-inf"))]
    plain = [_with_point(each) for each in plain]
    return f", {' or '.join(plain)} if it is not" if plain else ""


def _with_point(number: str) -> str:
    """YAML 1.1 knows no exponent without one: `1e-05` → `1.0e-05`."""
    return number if "." in number else number.replace("e-", ".0e-").replace("e+", ".0e+")


def _object(path: tuple[str | int, ...], names: Mapping[tuple[str | int, ...], str]) -> str | None:
    """`Kind/namespace/name` of the document, or of the item of a `List`."""
    base = path[:2] if path[:1] == ("items",) and (*path[:2], "kind") in names else ()
    parts = (("kind",), ("metadata", "namespace"), ("metadata", "name"))
    return "/".join(names[(*base, *part)] for part in parts if (*base, *part) in names) or None


def _plain_scalars(text: str, names: dict[tuple[str | int, ...], str]) -> Iterator[_Scalar]:
    """Every plain scalar with its path; what names objects is put into `names`."""
    stack: list[_Open] = []
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            stack.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        is_key = bool(stack) and stack[-1].is_at_key
        value = event.value if isinstance(event, yaml.ScalarEvent) else ""
        if stack:
            stack[-1].advance(value)
        path = tuple(each.step for each in stack)
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append(_Open(isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.ScalarEvent):
            if not is_key and path[-1:] in (("kind",), ("name",), ("namespace",)):
                names[path] = value
            if not event.style and event.implicit[0]:
                line = event.start_mark.line + 1 if event.start_mark else 1
                yield _Scalar(path, is_key, line, value)


class _Open:
    """A collection that is being read."""

    def __init__(self, is_mapping: bool) -> None:
        self.is_mapping = is_mapping
        self.is_at_key = is_mapping
        self.step: str | int = "" if is_mapping else -1

    def advance(self, value: str) -> None:
        if not self.is_mapping:
            self.step = int(self.step) + 1
        elif self.is_at_key:
            self.step = value
            self.is_at_key = False
        else:
            self.is_at_key = True


# --- the two readings ---------------------------------------------------------------------------

_MARKERS = {"=": _Meaning("a marker"), "<<": _Meaning("a merge")}
_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "y"), _Meaning("boolean", "true")),
    **dict.fromkeys(("false", "no", "off", "n"), _Meaning("boolean", "false")),
}


def _number(value: Any) -> _Meaning:
    return _Meaning("number", value)


def _meanings(text: str) -> tuple[_Meaning, _Meaning] | None:
    """What YAML 1.1 and 1.2 make of a plain scalar, where that differs."""
    if len(text) > _LONGEST:
        return None
    old, new = _yaml_1_1(text), _yaml_1_2(text)
    return (old, new) if old != new else None


def _yaml_1_1(text: str) -> _Meaning:
    if text.lower() in _BOOLEANS and text in (text.lower(), text.upper(), text.capitalize()):
        return _BOOLEANS[text.lower()]
    if text in _MARKERS:
        return _MARKERS[text]
    if re.fullmatch(_DATES, text):
        return _Meaning("a date")
    number = _number_1_1(text)
    return _TEXT if number is None else _number(number)


_INTEGERS_1_1 = (
    (re.compile(r"[-+]?0b_*[01][01_]*"), 2),
    (re.compile(r"[-+]?0[0-7_]+"), 8),
    (re.compile(r"[-+]?0x_*[0-9a-fA-F][0-9a-fA-F_]*"), 16),
    (re.compile(r"[-+]?(?:0|[1-9][0-9_]*)"), 10),
)
_BASE_60 = re.compile(
    r"[-+]?(?:[1-9][0-9_]*(?::[0-5]?[0-9])+|[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*)"
)
_FLOAT_1_1 = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?")


def _number_1_1(text: str) -> float | None:
    digits = text.replace("_", "")
    magnitude = digits.lstrip("+-")
    sign = -1 if text.startswith("-") else 1
    for pattern, base in _INTEGERS_1_1:
        if pattern.fullmatch(text):
            return sign * int(magnitude, base)
    if _BASE_60.fullmatch(text):
        return sign * _base_60(magnitude)
    return float(digits) if _FLOAT_1_1.fullmatch(text) else None


def _base_60(digits: str) -> float:
    value: float = 0
    for part in digits.split(":"):
        value = value * 60 + (float(part) if "." in part else int(part))
    return value


def _yaml_1_2(text: str) -> _Meaning:
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return _BOOLEANS[text.lower()]
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return _number(int(text))
    if re.fullmatch(r"0o[0-7]+", text):
        return _number(int(text, 8))
    if re.fullmatch(r"0x[0-9a-fA-F]+", text):
        return _number(int(text, 16))
    if re.fullmatch(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", text):
        return _number(float(text))
    return _TEXT
