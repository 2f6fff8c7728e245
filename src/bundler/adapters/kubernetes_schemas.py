"""Kubernetes' own schemas, strict and offline, from the data of the `kubernetes-validate` package.

The package has one file of definitions a version. Only the definitions that a kind refers to are
compiled, when the first object of that kind comes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs

from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject, split_api_version

_FOLDER = re.compile(r"v(\d+)\.(\d+)\.\d+-local-strict")
_REFERENCE = "#/$defs/"
_KINDS = "x-kubernetes-group-version-kind"
_CUT = 120
_OLD_GROUPS = frozenset({"extensions"})
_NOT_APPLIED = re.compile(r"List$|Options$|Event$|Status$|Review$|^Binding$|^Eviction$|^Scale$")


class _Kind(NamedTuple):
    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


class KubernetesSchemas:
    """Implements `bundler.ports.ObjectSchemas`."""

    def newest(self) -> str:
        """The newest Kubernetes version known, such as `1.36`."""
        return _versions()[-1]

    def known(self, version: str) -> bool:
        return version in _versions()

    def versions(self) -> tuple[str, ...]:
        """All known versions, oldest first."""
        return _versions()

    def check(
        self, version: str, objects: Sequence[KubernetesObject]
    ) -> Sequence[tuple[int, Finding]]:
        """Violations as (index of the object, finding with pointer and message)."""
        return [
            (index, finding)
            for index, obj in enumerate(objects)
            for finding in _check(version, obj)
        ]


def _check(version: str, obj: KubernetesObject) -> Iterator[Finding]:
    group, api_version = split_api_version(str(obj.get("apiVersion", "")))
    kind = _Kind(group, api_version, str(obj.get("kind", "")))
    if kind in _definitions(version).kinds:
        yield from _violations(version, kind, obj)
    elif group in _groups(version):
        yield _unknown(version, kind)
    else:
        yield Finding("unvalidated", f"no schema for {kind.api_version} {kind.kind}", "warning")


def _violations(version: str, kind: _Kind, obj: KubernetesObject) -> Iterator[Finding]:
    for error in _validator(version, kind).iter_errors(obj):
        pointer = _pointer(error.instance_path)
        match error.kind:
            case jsonschema_rs.ValidationErrorKind.AdditionalProperties():
                known = _known_fields(version, error.schema_path)
                for name in error.kind.unexpected:
                    yield _unknown_field(pointer, name, known)
            case jsonschema_rs.ValidationErrorKind.Required():
                yield Finding(
                    "schema", f"{error.kind.property} is missing", pointer=pointer or None
                )
            case _:
                yield Finding("schema", _message(version, error), pointer=pointer)


def _unknown_field(pointer: str, name: str, known: Sequence[str]) -> Finding:
    close = get_close_matches(name, known, n=1)
    return Finding(
        "schema",
        f"unknown field {name!r}",
        pointer=pointer + _pointer([name]),
        hint=f"did you mean {close[0]}?" if close else None,
    )


def _message(version: str, error: Any) -> str:
    """What is wrong, in terms of the value and not of the schema's inner alternatives."""
    shown = json.dumps(error.instance, ensure_ascii=False)
    shown = shown if len(shown) <= _CUT else shown[:_CUT] + "…"
    name = error.schema_path[1] if len(error.schema_path) > 1 else ""
    wanted = {"Quantity": "a quantity such as 100m or 1Gi", "IntOrString": "a number or a text"}
    meant = wanted.get(str(name).rpartition(".")[2])
    if meant:
        return f"{shown} is not {meant}"
    expected = _at(version, error.schema_path)
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.Type():
            types = expected if isinstance(expected, list) else [expected]
            return f"{shown} is not of type {' or '.join(t for t in types if t != 'null')}"
        case jsonschema_rs.ValidationErrorKind.Enum() if isinstance(expected, list):
            return f"{shown} is none of {', '.join(map(str, expected))}"
        case _:
            text = str(error.message)
            return text if len(text) <= 2 * _CUT else text[: 2 * _CUT] + "…"


def _unknown(version: str, kind: _Kind) -> Finding:
    """A kind of Kubernetes' own groups that this version has not: removed, too new or misspelt."""
    other = [known for known in _versions() if kind in _definitions(known).kinds]
    here = _definitions(version).kinds
    current = [k for k in here if k.kind == kind.kind and k.group not in _OLD_GROUPS]
    name = f"{kind.api_version} {kind.kind}"
    if other:
        span = other[0] if len(other) == 1 else f"{other[0]} to {other[-1]}"
        instead = f"use apiVersion {current[-1].api_version}" if current else None
        return Finding(
            "removed-api",
            f"Kubernetes {version} has no {name}; known in {span}",
            pointer="/apiVersion",
            hint=instead,
        )
    hint = _nearest(kind, current, here)
    message = f"no known version of Kubernetes has {name}"
    return Finding("unknown-kind", message, pointer="/kind", hint=hint)


def _nearest(kind: _Kind, current: Sequence[_Kind], here: Mapping[_Kind, str]) -> str | None:
    if current:
        return f"use apiVersion {current[-1].api_version}"
    by_kind = {k.kind: k for k in here if not _NOT_APPLIED.search(k.kind)}
    close = get_close_matches(kind.kind, by_kind, n=1)
    if not close:
        return None
    meant = by_kind[close[0]]
    return f"did you mean {meant.api_version} {meant.kind}?"


# --- the package's files ------------------------------------------------------------------------


class _Definitions(NamedTuple):
    schemas: Mapping[str, Any]
    kinds: Mapping[_Kind, str]
    """Kind → name of its definition, older API versions first."""


def _folder() -> Path:
    # Importing the package would cost more than all that is done with its data.
    spec = find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise LookupError("the package kubernetes-validate is not installed")
    return Path(spec.origin).parent / "kubernetes-json-schema"


@cache
def _folders() -> Mapping[str, Path]:
    found = [
        (match, entry) for entry in _folder().iterdir() if (match := _FOLDER.match(entry.name))
    ]
    found.sort(key=lambda pair: (int(pair[0][1]), int(pair[0][2])))
    return {f"{match[1]}.{match[2]}": entry for match, entry in found}


def _versions() -> tuple[str, ...]:
    return tuple(_folders())


@cache
def _definitions(version: str) -> _Definitions:
    text = (_folders()[version] / "_definitions.json").read_text("utf-8")
    schemas = json.loads(text)["$defs"]
    kinds = {
        _Kind(entry["group"], entry["version"], entry["kind"]): name
        for name, schema in schemas.items()
        for entry in schema.get(_KINDS, ())
    }
    return _Definitions(schemas, dict(sorted(kinds.items(), key=lambda pair: _age(pair[0]))))


def _age(kind: _Kind) -> tuple[str, str, int, int, int]:
    """Sorts v1alpha1 before v1beta1 before v1 before v2."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", kind.version)
    if not match:
        return kind.group, kind.kind, 0, 0, 0
    stability = {"alpha": 0, "beta": 1, None: 2}[match[2]]
    return kind.group, kind.kind, stability, int(match[1]), int(match[3] or 0)


@cache
def _groups(version: str) -> frozenset[str]:
    return frozenset(kind.group for kind in _definitions(version).kinds) | _OLD_GROUPS


@lru_cache(maxsize=512)
def _validator(version: str, kind: _Kind) -> jsonschema_rs.Draft202012Validator:
    definitions = _definitions(version)
    name = definitions.kinds[kind]
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": _REFERENCE + name,
        "$defs": _closure(definitions.schemas, name),
    }
    return jsonschema_rs.Draft202012Validator(schema, retriever=_refuse)


def _refuse(uri: str) -> Any:
    raise LookupError(f"{uri} is not among the schemas, and nothing is fetched")


def _closure(schemas: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A definition and all that it refers to."""
    found: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found[current] = schemas[current]
            waiting += _references(schemas[current])
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_REFERENCE)
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _at(version: str, path: Sequence[str | int]) -> Any:
    """What stands at a schema path; it starts at `$defs`."""
    value: Any = {"$defs": _definitions(version).schemas}
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _known_fields(version: str, schema_path: Sequence[str | int]) -> Sequence[str]:
    schema = _at(version, schema_path[:-1])
    return sorted(schema.get("properties", ())) if isinstance(schema, Mapping) else []


def _pointer(path: Sequence[str | int]) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
