"""Findings as a SARIF 2.1.0 log, for the tools that show those of many programs in one place.

A finding of a file of the repository has that file and its line. One of a rendered object, which
no file holds as such, stands in the project file, which declares its environment, and the object is
its logical location.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from bundler import __version__
from bundler.errors import BundlerError
from bundler.model.finding import Finding
from bundler.model.project import PROJECT_FILE
from bundler.model.rules import RULES

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
_OF_THE_REPOSITORY = {"project file", "sources", "render", "charts", "layers"}
"""Stages whose findings name files of the repository; later ones name files of the bundle."""


def log(findings: Iterable[Finding], error: BundlerError | None = None) -> Mapping[str, Any]:
    """A log with one run: all findings, and the error that ended it, if one did."""
    found = tuple(findings)
    rules = sorted({finding.rule for finding in found})
    invocation: dict[str, Any] = {"executionSuccessful": error is None}
    if error is not None:
        invocation |= {"exitCode": error.exit_code, "toolExecutionNotifications": [_told(error)]}
    driver = {"name": "bundler", "version": __version__, "rules": [_rule(name) for name in rules]}
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, rules) for finding in found],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _told(error: BundlerError) -> dict[str, Any]:
    words = _sentence(error.message, error.hint)
    return {"descriptor": {"id": error.code}, "level": "error", "message": {"text": words}}


def _rule(name: str) -> dict[str, Any]:
    rule = RULES.get(name)
    if rule is None:  # the code of an error: what could not be asked
        return {"id": name}
    level = "none" if rule.protected == "ignore" else rule.protected
    return {
        "id": name,
        "shortDescription": {"text": rule.says},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": [rule.stage]},
    }


def _result(finding: Finding, rules: Sequence[str]) -> dict[str, Any]:
    place = {
        key: value
        for key in ("file", "pointer", "object", "service", "environment", "hint")
        if (value := getattr(finding, key)) is not None
    }
    return {
        "ruleId": finding.rule,
        "ruleIndex": rules.index(finding.rule),
        "level": finding.severity,
        "message": {"text": _sentence(finding.message, finding.hint)},
        "locations": [_location(finding)],
        "partialFingerprints": {"bundlerPlace/v1": _fingerprint(finding)},
        "properties": place,
    }


def _sentence(message: str, hint: str | None) -> str:
    return f"{message} ({hint})" if hint else message


def _location(finding: Finding) -> dict[str, Any]:
    rule = RULES.get(finding.rule)
    is_source = finding.object is None and (rule is None or rule.stage in _OF_THE_REPOSITORY)
    file = finding.file if is_source and finding.file else PROJECT_FILE
    physical: dict[str, Any] = {"artifactLocation": {"uri": quote(file), "uriBaseId": "%SRCROOT%"}}
    if finding.line and file == finding.file:
        physical["region"] = {"startLine": finding.line}
    logical = _logical(finding)
    return {"physicalLocation": physical} | ({"logicalLocations": [logical]} if logical else {})


def _logical(finding: Finding) -> dict[str, Any] | None:
    """`environment/target/Kind/namespace/name#pointer`, as far as it is known."""
    thing = finding.object or finding.service
    parts = [part for part in (finding.environment, thing) if part]
    if not parts and not finding.pointer:
        return None
    pointer = f"#{finding.pointer}" if finding.pointer else ""
    kind = "object" if finding.object else "module"
    name = {"name": parts[-1]} if parts else {}
    return name | {"fullyQualifiedName": "/".join(parts) + pointer, "kind": kind}


def _fingerprint(finding: Finding) -> str:
    """The same from run to run, whatever line it moves to and however it is worded."""
    place = (finding.environment, finding.object, finding.service, finding.file, finding.pointer)
    return sha256("\n".join([finding.rule, *(part or "" for part in place)]).encode()).hexdigest()
