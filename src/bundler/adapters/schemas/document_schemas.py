"""Our own JSON Schemas (2020-12), as `bundler.ports.DocumentSchemas`.

Most documents are right, and that is found out fast; what is wrong with one is worth the time that
it takes to say it well.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import jsonschema_rs

from bundler.model.finding import Finding

IDENTIFIER = "https://release-bundler.dev/schemas/{}/v1"
_IDENTIFIER = re.compile(r"https://release-bundler\.dev/schemas/([a-z-]+)/v1")


class DocumentSchemas:
    """Implements `bundler.ports.DocumentSchemas` with the schemas that ship with the package."""

    def check(self, schema: str, document: object) -> tuple[Finding, ...]:
        """All violations of one of our schemas, in the document's order."""
        if _is_valid(schema, document):
            return ()
        from bundler.adapters.schemas import document_findings

        return document_findings.findings(schema, document)


def _is_valid(schema: str, document: object) -> bool:
    try:
        return bool(_validator(schema).is_valid(document))
    except (ValueError, TypeError):  # a value that no JSON has, such as a key that is no text
        return False


@cache
def _validator(schema: str) -> Any:
    return jsonschema_rs.Draft202012Validator(load_schema(schema), retriever=retrieve)


def retrieve(uri: str) -> Any:
    """Our own schemas refer to each other; nothing else is looked up, least of all remotely.

    Raises LookupError.
    """
    match = _IDENTIFIER.fullmatch(uri)
    if not match:
        raise LookupError(uri)
    return load_schema(match[1])


def schema_folder() -> Traversable:
    """Where the schemas are: in the wheel, or in a development checkout."""
    packaged = files("bundler") / "schemas"
    return packaged if packaged.is_dir() else Path(__file__).parents[4] / "schemas"


@cache
def load_schema(name: str) -> Any:
    return json.loads((schema_folder() / f"{name}.json").read_text("utf-8"))
