"""Every violation of one of our JSON Schemas, in words a person can act on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple

import referencing
import referencing.exceptions
import referencing.jsonschema
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from bundler.adapters.schemas.document_schemas import load_schema, retrieve
from bundler.model.finding import Finding, json_pointer

_USERINFO = re.compile(r"(?<=://)[^/\s]*@")
"""What stands before the host of a URL: a password, where somebody wrote one."""
_SHOWN = 60
_LONGEST = 200
_Error = Any
"""A jsonschema ValidationError: its own types do not say what its attributes hold."""
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "a text",
}


def findings(schema: str, document: object) -> tuple[Finding, ...]:
    """All violations of a schema, in the document's order."""
    errors = sorted(_validator(schema).iter_errors(document), key=_place)
    return tuple(
        Finding("schema", problem.message, pointer=problem.pointer, hint=problem.hint)
        for error in errors
        for problem in _problems(error)
    )


class _Problem(NamedTuple):
    pointer: str
    message: str
    hint: str | None = None


@cache
def _validator(schema: str) -> Any:
    registry: Any = referencing.Registry(retrieve=_retrieve)  # type: ignore[call-arg]
    checker = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]
    return checker(load_schema(schema), registry=registry)


def _retrieve(uri: str) -> referencing.Resource[Any]:
    try:
        return referencing.jsonschema.DRAFT202012.create_resource(retrieve(uri))
    except LookupError:
        raise referencing.exceptions.NoSuchResource(uri) from None


def _pattern(
    _: Any, pattern: str, instance: object, __: Mapping[str, Any]
) -> Iterator[ValidationError]:
    # In JSON Schema `$` is the very end; in Python's `re` it is also before a last line break.
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _place(error: _Error) -> tuple[tuple[int, int, str], ...]:
    return tuple(
        (0, part, "") if isinstance(part, int) else (1, 0, part) for part in error.absolute_path
    )


def _problems(error: _Error) -> Iterator[_Problem]:
    path = list(error.absolute_path)
    pointer = json_pointer(*path)
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    if "propertyNames" in error.absolute_schema_path:
        title = schema.get("title", "allowed here")
        yield _Problem(json_pointer(*path, error.instance), f"the key is not {title}")
    elif error.validator == "additionalProperties":
        yield from _unknown_keys(error.instance, schema, path)
    elif error.validator == "required":
        yield from _missing_key(error, pointer)
    elif error.validator == "anyOf" and error.context:
        # Each of ours is "null or …": what is wrong with the second is what is wrong.
        for inner in error.context:
            if inner.validator != "type" or inner.validator_value != "null":
                yield from _problems(inner)
    elif error.validator != "oneOf" or schema.get("type") != "object" or _is_mapping(error):
        # What has to be a mapping says so itself, if it is none.
        yield _Problem(pointer, _message(error, schema), _hint(error))


def _is_mapping(error: _Error) -> bool:
    return isinstance(error.instance, Mapping)


def _unknown_keys(
    instance: Mapping[str, Any], schema: Mapping[str, Any], path: list[str | int]
) -> Iterator[_Problem]:
    known = sorted(schema.get("properties", ()))
    for key in instance:
        if key in known:
            continue
        close = get_close_matches(key, known, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        yield _Problem(json_pointer(*path, key), f"unknown key {key!r}", hint)


def _missing_key(error: _Error, pointer: str) -> Iterator[_Problem]:
    # jsonschema reports each missing key as an error of its own, named only in its message.
    for key in error.validator_value:
        if key not in error.instance and error.message.startswith(repr(key)):
            yield _Problem(pointer, f"{key} is missing")


def _message(error: _Error, schema: Mapping[str, Any]) -> str:
    shown = _shown(error.instance)
    expected = error.validator_value
    keyword = error.validator
    text: str = error.message
    if keyword in ("pattern", "oneOf") and "title" in schema:
        text = f"{shown} is not {schema['title']}"
    elif keyword == "type":
        names = [expected] if isinstance(expected, str) else expected
        text = f"{shown} is not {' or '.join(_TYPES[name] for name in names)}"
    elif keyword == "const":
        text = f"{shown} is not {_shown(expected)}"
    elif keyword == "enum":
        text = f"{shown} is none of {', '.join(str(value) for value in expected)}"
    elif keyword in ("minItems", "minProperties", "minLength"):
        text = "is empty"
    elif keyword == "uniqueItems":
        repeated = [x for i, x in enumerate(error.instance) if x in error.instance[:i]]
        text = f"{_shown(repeated[0])} stands twice"
    return text if len(text) <= _LONGEST else f"{shown} is against {keyword}"


def _hint(error: _Error) -> str | None:
    wants_text = error.validator == "type" and error.validator_value == "string"
    if wants_text and isinstance(error.instance, (int, float, bool)):
        return "put it in quotes"
    if error.validator in ("enum", "const") and isinstance(error.instance, str):
        known = error.validator_value if error.validator == "enum" else [error.validator_value]
        close = get_close_matches(error.instance, [x for x in known if isinstance(x, str)], n=1)
        return f"did you mean {close[0]}?" if close else None
    return None


def _shown(value: object) -> str:
    """A value as its author wrote it, as far as it is short."""
    if isinstance(value, Mapping):
        return "the mapping"
    if isinstance(value, list):
        return "the list"
    text = _USERINFO.sub("…@", json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
