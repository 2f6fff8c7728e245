"""A compiled schema, and what it says of an object, told in terms of the object.

Schemas come from repositories too: nothing is fetched, a pattern is matched in linear time (as the
API server matches it), and how deep and large a value may be is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import jsonschema_rs

from bundler.adapters.schemas.definitions import REFERENCE
from bundler.model.finding import Finding, json_pointer
from bundler.model.objects import KubernetesObject

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PATTERN_BYTES = 2 * 1024 * 1024
"""What one pattern may take compiled; names of 253 letters with Unicode classes take less."""
_MAX_DEPTH = 200
"""Twice of what the reader of YAML lets pass."""
_CUT = 120
_MEANT = {"Quantity": "a quantity such as 100m or 1Gi", "IntOrString": "a number or a text"}


def is_too_deep(value: object) -> bool:
    """Whether a value would overflow the validator's stack, which ends the whole process."""
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list, tuple))
        ]
        if not level:
            return False
    return True


class BadSchema(ValueError):
    """What cannot be compiled; `path` leads to the place in the schema where it is known."""

    def __init__(self, message: str, path: Sequence[str | int] = ()) -> None:
        super().__init__(message)
        self.path = tuple(path)


class Compiled(NamedTuple):
    definitions: Mapping[str, Any]
    validator: Any

    def violations(self, obj: KubernetesObject) -> Iterator[Finding]:
        try:
            for error in self.validator.iter_errors(obj):
                yield from _findings(self.definitions, error)
        except (ValueError, TypeError, OverflowError) as error:
            problem = str(error).splitlines()[0][:_CUT]
            yield Finding("schema", f"cannot be checked against its schema: {problem}")


def compiled(definitions: Mapping[str, Any], name: str) -> Compiled:
    """The schema that is called `name` among the definitions. Raises BadSchema."""
    schema = {"$schema": _DIALECT, "$ref": REFERENCE + name, "$defs": definitions}
    limits = jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES)
    try:
        validator = jsonschema_rs.Draft202012Validator(
            schema, retriever=_refuse, pattern_options=limits, validate_formats=False
        )
    except jsonschema_rs.ValidationError as error:
        raise BadSchema(_cut(error.message), error.instance_path) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise BadSchema(_cut(str(error).splitlines()[0])) from error
    return Compiled(definitions, validator)


def _refuse(uri: str) -> Any:
    raise LookupError(f"{uri} is not among the schemas, and nothing is fetched")


def _findings(definitions: Mapping[str, Any], error: Any) -> Iterator[Finding]:
    pointer = json_pointer(*error.instance_path)
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.AdditionalProperties():
            known = _known_fields(definitions, error.schema_path)
            for name in error.kind.unexpected:
                yield _unknown_field(pointer, name, known)
        case jsonschema_rs.ValidationErrorKind.Required():
            yield Finding("schema", f"{error.kind.property} is missing", pointer=pointer or None)
        case _:
            yield Finding("schema", _message(definitions, error), pointer=pointer)


def _unknown_field(pointer: str, name: str, known: Sequence[str]) -> Finding:
    close = get_close_matches(name, known, n=1)
    return Finding(
        "schema",
        f"unknown field {name!r}",
        pointer=pointer + json_pointer(name),
        hint=f"did you mean {close[0]}?" if close else None,
    )


def _message(definitions: Mapping[str, Any], error: Any) -> str:
    """What is wrong, in terms of the value and not of the schema's inner alternatives."""
    shown = _cut(json.dumps(error.instance, ensure_ascii=False))
    name = error.schema_path[1] if len(error.schema_path) > 1 else ""
    meant = _MEANT.get(str(name).rpartition(".")[2])
    if meant:
        return f"{shown} is not {meant}"
    expected = _at(definitions, error.schema_path)
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.Type():
            types = expected if isinstance(expected, list) else [expected]
            return f"{shown} is not of type {' or '.join(t for t in types if t != 'null')}"
        case jsonschema_rs.ValidationErrorKind.Enum() if isinstance(expected, list):
            return f"{shown} is none of {', '.join(str(x) for x in expected if x is not None)}"
        case jsonschema_rs.ValidationErrorKind.AnyOf() | (
            jsonschema_rs.ValidationErrorKind.OneOfNotValid()
        ) if isinstance(expected, list):
            return _no_alternative(shown, expected)
        case _:
            return _cut(str(error.message), 2 * _CUT)


def _no_alternative(shown: str, alternatives: Sequence[Any]) -> str:
    """Most alternatives in CRDs say that one of several fields has to be there."""
    fields = [
        " and ".join(map(str, each["required"]))
        for each in alternatives
        if isinstance(each, Mapping) and each.get("required")
    ]
    if len(fields) == len(alternatives):
        return f"needs {' or '.join(fields)}"
    return f"{shown} is none of the {len(alternatives)} forms that the schema allows"


def _cut(text: str, length: int = _CUT) -> str:
    return text if len(text) <= length else text[:length] + "…"


def _at(definitions: Mapping[str, Any], path: Sequence[str | int]) -> Any:
    """What stands at a schema path; it starts at `$defs`."""
    value: Any = {"$defs": definitions}
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _known_fields(definitions: Mapping[str, Any], path: Sequence[str | int]) -> Sequence[str]:
    schema = _at(definitions, path[:-1])
    return sorted(schema.get("properties", ())) if isinstance(schema, Mapping) else []
