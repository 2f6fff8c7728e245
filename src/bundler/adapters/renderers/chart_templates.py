"""The templates of a chart that its values reach, and what in them is not always the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bundler.adapters.renderers.helm_charts import Chart, Values
from bundler.adapters.renderers.template_scan import Body, Parsed, parse, reachable
from bundler.model.finding import Finding, json_pointer

RULE = "nondeterministic-template"
_RANDOM = frozenset(
    {
        "ago",
        "bcrypt",
        "encryptAES",
        "genCA",
        "genCAWithKey",
        "genPrivateKey",
        "genSelfSignedCert",
        "genSelfSignedCertWithKey",
        "genSignedCert",
        "genSignedCertWithKey",
        "htpasswd",
        "now",
        "randAlpha",
        "randAlphaNum",
        "randAscii",
        "randBytes",
        "randInt",
        "randNumeric",
        "shuffle",
        "uuidv4",
    }
)
_OUTSIDE = {
    "lookup": "sees no cluster when a release is published: it is always empty",
    "getHostByName": "asks nobody when a release is published: it is always empty",
}
_ACTION = "{{"
_FILES_OF_VALUES = "values.yaml"
_OBJECT = re.compile(rb"^kind:", re.MULTILINE)
_TEST_HOOK = re.compile(
    rb"""^\s+["']?helm\.sh/hook["']?:\s*["']?test(?:-success|-failure)?["']?\s*$""", re.MULTILINE
)


class _Templates:
    """The parsed templates of the enabled charts."""

    def __init__(self, charts: Iterable[Chart]) -> None:
        self.roots: list[Body] = []
        self.defined: dict[str, list[Body]] = {}
        for chart in charts:
            for path, content in sorted(chart.files.items()):
                if path.startswith("templates/"):
                    parsed = parse(_text(content), chart.file(path))
                    self.add(parsed, is_root=_is_rendered(chart, path, content))
                    if path.rpartition("/")[2].startswith("_"):
                        self.defined.setdefault(path, []).append(parsed.body)

    def add(self, parsed: Parsed, *, is_root: bool) -> None:
        if is_root:
            self.roots.append(parsed.body)
        for name, bodies in parsed.defined.items():
            self.defined.setdefault(name, []).extend(bodies)

    def reached(self) -> list[Body]:
        return list(reachable(self.roots, self.defined))


def nondeterminism(
    charts: tuple[Chart, ...], values: Values, given: Iterable[tuple[str, Values]]
) -> Iterator[Finding]:
    """What may be different each time, or depends on what is outside of the tag's tree.

    `charts` are the enabled ones, the installed one first; `values` what its templates see;
    `given` the files of values that went into them.
    """
    templates = _Templates(charts)
    reached = templates.reached()
    if any(body.evaluates for body in reached):
        files = [*given, (charts[0].file(_FILES_OF_VALUES), charts[0].values)]
        for parsed in (*_in_values(values, files), *_in_files(charts, reached)):
            templates.add(parsed, is_root=True)
        reached = templates.reached()
    seen: set[tuple[object, ...]] = set()
    for body in reached:
        for call in body.calls:
            key = (body.file, body.pointer, call)
            if key not in seen and (call.function in _RANDOM or call.function in _OUTSIDE):
                seen.add(key)
                yield _finding(body, call.function, call.line)


def _is_rendered(chart: Chart, path: str, content: bytes) -> bool:
    """Whether a file's own text makes objects; those of tests and notes are left out anyway."""
    name = path.rpartition("/")[2]
    is_left_out = path.startswith("templates/tests/") or name == "NOTES.txt" or _is_test(content)
    return not (chart.is_library or name.startswith("_") or is_left_out)


def _is_test(content: bytes) -> bool:
    """Whether all objects of a file are tests: each has that hook."""
    return 0 < len(_OBJECT.findall(content)) <= len(_TEST_HOOK.findall(content))


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _finding(body: Body, function: str, line: int) -> Finding:
    said = _OUTSIDE.get(function, "gives something else each time")
    return Finding(
        RULE,
        f"{function} {said}",
        file=body.file,
        line=None if body.pointer else line,
        pointer=body.pointer,
        hint="set the value that it stands in for, or take the template out",
    )


# --- texts that are taken for templates ---------------------------------------------------------


def _in_values(values: Values, files: Iterable[tuple[str, Values]]) -> Iterator[Parsed]:
    files = tuple(files)
    for path, text in _strings(values, ()):
        if _ACTION in text:
            file = next((name for name, own in files if _at(own, path) == text), files[-1][0])
            yield parse(text, file, json_pointer(*path))


def _strings(value: Any, path: tuple[object, ...]) -> Iterator[tuple[tuple[object, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strings(inner, (*path, index))


def _at(value: Any, path: tuple[object, ...]) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _in_files(charts: Iterable[Chart], reached: Iterable[Body]) -> Iterator[Parsed]:
    """The charts' files that are no templates, but are read and taken for some."""
    named = {name for body in reached for name in body.evaluated_files}
    for chart in charts:
        for path, content in chart.files.items():
            if path.startswith("templates/") or not named:
                continue
            if ("" in named or path in named) and _ACTION.encode() in content:
                yield parse(_text(content), chart.file(path))
