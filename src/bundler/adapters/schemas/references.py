"""What a JSON schema refers to outside of itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urldefrag, urljoin

from bundler.manifests import read_json
from bundler.model.finding import json_pointer

_OF_JSON_SCHEMA = re.compile(r"https?://json-schema\.org/(?:draft[-/][0-9-]+/)?schema#?")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def remote_references(content: bytes) -> Iterator[tuple[str, str]]:
    """(pointer, reference) of all that would have to be fetched; none of what is no JSON."""
    try:
        schema = read_json(content)
    except ValueError:
        return  # helm says what is wrong
    own = {identifier for _, key, identifier in _strings(schema, "") if key in ("$id", "id")}
    base = schema.get("$id", "") if isinstance(schema, dict) else ""
    for pointer, key, text in _strings(schema, ""):
        if key == "$schema" and not _OF_JSON_SCHEMA.fullmatch(text):
            yield pointer, text
        elif key in _REFERENCES and not text.startswith("#"):
            target = urldefrag(urljoin(str(base), text)).url
            if target not in {urldefrag(urljoin(str(base), each)).url for each in own}:
                yield pointer, text


def _strings(value: Any, pointer: str) -> Iterator[tuple[str, str, str]]:
    """(pointer, key, text) of every text in a mapping, however deep it lies."""
    waiting = [(pointer, value)]
    while waiting:
        place, current = waiting.pop()
        if isinstance(current, list):
            waiting += [(f"{place}/{index}", inner) for index, inner in enumerate(current)]
        for key, inner in current.items() if isinstance(current, dict) else ():
            here = place + json_pointer(key)
            if isinstance(inner, str):
                yield here, key, inner
            else:
                waiting.append((here, inner))
