"""Schemas that mean harm end in a finding, soon: they come from repositories (group A4)."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import textwrap
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.adapters.schemas.crd_schemas import MAX_NODES
from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
from bundler.model.finding import Finding
from tests.contract.test_crd_schemas import PLACE, crd, zone

SECONDS = 10
MEMORY = 400 * 1024 * 1024


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a schema was looked for on the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def found(spec: Any, **fields: Any) -> list[Finding]:
    definition = crd({"type": "object", "properties": {"host": {"type": "string"}, "a": spec}})
    return [f for _, f in KubernetesSchemas().check("1.36", [definition, zone(**fields)])]


def defects(spec: Any) -> list[tuple[str | None, str]]:
    findings = found(spec, a="x")
    return [(each.pointer, each.message) for each in findings if each.rule == "crd-schema"]


@pytest.mark.requirement("B-73", "B-74")
@pytest.mark.parametrize(
    "reference",
    ["http://127.0.0.1:9/x.json", "file:///etc/passwd", "#", "#/$defs/schema", "//host/x"],
)
def test_a_reference_is_refused_and_followed_nowhere(reference: str) -> None:
    place = f"{PLACE}/properties/a/$ref"
    message = "a CRD's schema may not refer to another"
    assert (place, message) in defects({"$ref": reference, "type": "string"})
    nested = {"type": "object", "allOf": [{"not": {"$ref": reference}}]}
    assert [found for _, found in defects(nested)] == [message]


def test_a_schemas_own_identifier_opens_nothing() -> None:
    schema = {"type": "string", "$id": "http://127.0.0.1:9/", "$schema": "http://127.0.0.1:9/"}
    assert found(schema, a=1)[-1].message == "1 is not of type string"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^(a+)+$", "a" * 100_000 + "!"),
        ("^(a|a)*$", "a" * 100_000 + "!"),
        ("^(.*)*x$", "a" * 100_000),
        ("^.*.*.*.*.*.*x$", "a" * 100_000),
        ("(x+x+)+y", "x" * 100_000),
    ],
)
def test_a_pattern_takes_linear_time(pattern: str, text: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    (finding,) = found({"type": "string", "pattern": pattern}, a=text)
    assert (finding.rule, finding.pointer) == ("schema", "/spec/a")
    assert len(finding.message) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 2


@pytest.mark.parametrize(
    "pattern", ["(a+)\\1", "^(?=.*a)b", "((a{1,1000}){1,1000}){1,1000}", "(?<=x)y", "\\p{Nonsense}"]
)
def test_a_pattern_that_no_api_server_takes_is_a_finding(pattern: str) -> None:
    ((pointer, message),) = defects({"type": "string", "pattern": pattern})
    assert pointer == f"{PLACE}/properties/a/pattern"
    assert "usable" in message


def nested(depth: int, keyword: str) -> str:
    """JSON of a schema that deep."""
    before, after = {
        "allOf": ('{"allOf": [', "]}"),
        "not": ('{"not": ', "}"),
        "items": ('{"type": "array", "items": ', "}"),
        "properties": ('{"type": "object", "properties": {"a": ', "}}"),
    }[keyword]
    return before * depth + '{"type": "string"}' + after * depth


@pytest.mark.parametrize("keyword", ["allOf", "not", "items", "properties"])
@pytest.mark.parametrize("depth", [70, 150])
def test_a_schema_that_is_nested_deeply_is_a_finding(keyword: str, depth: int) -> None:
    spec = json.loads(nested(depth, keyword))
    assert any("nested" in finding.message for finding in found(spec, a="x"))


@pytest.mark.parametrize("keyword", ["allOf", "items"])
def test_a_schema_nested_50_000_deep_does_no_harm_to_the_process(keyword: str) -> None:
    """Also where it reaches the schemas past the reader of YAML, which refuses it first."""
    program = f"""
    from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
    from bundler.manifests import read_documents, InvalidYaml
    from tests.contract.test_crd_schemas import crd, zone
    try:
        read_documents({nested(50_000, keyword)!r})
    except InvalidYaml as error:
        print(error)
    deep = {{"type": "string"}}
    for _ in range(50_000):
        deep = {{"allOf": [deep]}} if {keyword!r} == "allOf" else {{"type": "array", "items": deep}}
    value = []
    for _ in range(50_000):
        value = [value]
    for objects in ([crd(deep), zone()], [crd(), zone(any=value)]):
        findings = KubernetesSchemas().check("1.36", objects)
        print(sorted({{finding.rule for _, finding in findings}}))
    """
    printed = run(textwrap.dedent(program)).splitlines()
    assert printed == ["nested too deeply", "['schema', 'unvalidated']", "['schema']"]


def run(program: str) -> str:
    completed = subprocess.run(
        [sys.executable, "-"],
        input=program,
        capture_output=True,
        text=True,
        check=False,
        timeout=6 * SECONDS,
        preexec_fn=_limits,
    )
    assert completed.returncode == 0, completed.stderr[-2000:]
    return completed.stdout


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def test_a_schema_with_too_many_parts_is_a_finding() -> None:
    fields = {f"f{number}": {"type": "string"} for number in range(MAX_NODES)}
    assert (
        "/spec/versions/0/schema/openAPIV3Schema",
        f"the schema has more than {MAX_NODES} parts",
    ) in defects({"type": "object", "properties": fields})


def test_alternatives_of_alternatives_are_checked_within_bounds() -> None:
    schema: dict[str, Any] = {"pattern": "b"}
    for _ in range(12):
        schema = {"anyOf": [schema, dict(schema)]}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    findings = found({"type": "string", **schema}, a="a")
    assert [finding.rule for finding in findings] == ["schema"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < SECONDS


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "enum": "x"},
        {"type": "object", "required": "host"},
        {"type": "object", "properties": []},
        {"type": "array", "items": [{"type": "string"}]},
        {"type": ["string", "null"]},
        {"type": "number", "multipleOf": 0},
        {"type": "object", "allOf": {"type": "object"}},
        "string",
        None,
    ],
)
def test_a_schema_that_makes_no_sense_is_a_finding(schema: Any) -> None:
    findings = found(schema, a="x")
    assert findings
    assert all(finding.severity == "error" for finding in findings)


WORDS = st.sampled_from(
    ["type", "properties", "items", "additionalProperties", "allOf", "anyOf", "not", "enum",
     "required", "pattern", "nullable", "minimum", "exclusiveMinimum", "format", "default",
     "$ref", "x-kubernetes-int-or-string", "x-kubernetes-embedded-resource", "metadata",
     "x-kubernetes-preserve-unknown-fields", "object", "array", "string", "a"]
)  # fmt: skip
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)


@settings(deadline=None, max_examples=200)
@given(NONSENSE, NONSENSE)
def test_whatever_a_schema_is_it_is_told_or_works(schema: Any, value: Any) -> None:
    for finding in found(schema, a=value):
        assert finding.rule in ("crd-schema", "schema")
        assert len(finding.message) < 1000
