"""Kubernetes' own definitions, strict and offline: the data of the `kubernetes-validate` package.

The package has one file of definitions a version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

REFERENCE = "#/$defs/"
_FOLDER = re.compile(r"v(\d+)\.(\d+)\.\d+-local-strict")
_KINDS = "x-kubernetes-group-version-kind"
_NO_OBJECTS = frozenset({"APIGroup", "APIVersions", "DeleteOptions", "Status", "WatchEvent"})
"""What an API server answers and takes besides."""
_STABILITY = {"alpha": 0, "beta": 1, None: 2}


class Kind(NamedTuple):
    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def age(self) -> tuple[int, int, int]:
        """Sorts v1alpha1 before v1beta1 before v1 before v2, and what is no such version first."""
        match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", self.version)
        if not match:
            return -1, 0, 0
        return _STABILITY[match[2]], int(match[1]), int(match[3] or 0)

    @property
    def is_stable(self) -> bool:
        return self.age[0] == _STABILITY[None]

    def __str__(self) -> str:
        return f"{self.api_version} {self.kind}"


class Definitions(NamedTuple):
    schemas: Mapping[str, Any]
    kinds: Mapping[Kind, str]
    """Kind → name of its definition, older API versions first."""


@cache
def _folders() -> Mapping[str, Path]:
    # Importing the package would cost more than all that is done with its data.
    spec = find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise LookupError("the package kubernetes-validate is not installed")
    root = Path(spec.origin).parent / "kubernetes-json-schema"
    found = [(match, entry) for entry in root.iterdir() if (match := _FOLDER.match(entry.name))]
    found.sort(key=lambda pair: (int(pair[0][1]), int(pair[0][2])))
    return {f"{match[1]}.{match[2]}": entry for match, entry in found}


def versions() -> tuple[str, ...]:
    """Every Kubernetes version that there is data of, oldest first."""
    return tuple(_folders())


@cache
def definitions(version: str) -> Definitions:
    text = (_folders()[version] / "_definitions.json").read_bytes()
    schemas = json.loads(text)["$defs"]
    kinds = {
        Kind(entry["group"], entry["version"], entry["kind"]): name
        for name, schema in schemas.items()
        for entry in schema.get(_KINDS, ())
    }
    in_order = sorted(kinds.items(), key=lambda pair: (pair[0].group, pair[0].kind, pair[0].age))
    return Definitions(schemas, dict(in_order))


@cache
def groups(version: str) -> frozenset[str]:
    return frozenset(kind.group for kind in definitions(version).kinds)


@cache
def served_apis(version: str) -> tuple[str, ...]:
    """What every cluster of a version says that it has: `batch/v1`, `batch/v1/CronJob`.

    Alpha and beta versions are left out: clusters serve them when they are told to.
    """
    kinds = [kind for kind in definitions(version).kinds if kind.is_stable and _is_object(kind)]
    versions_and_kinds = {kind.api_version for kind in kinds}
    versions_and_kinds |= {f"{kind.api_version}/{kind.kind}" for kind in kinds}
    return tuple(sorted(versions_and_kinds))


def _is_object(kind: Kind) -> bool:
    return kind.kind not in _NO_OBJECTS and not kind.kind.endswith("List")


def closure(schemas: Mapping[str, Any], name: str) -> Mapping[str, Any]:
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
            yield reference.removeprefix(REFERENCE)
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
