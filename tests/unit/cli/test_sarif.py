"""SARIF 2.1.0 as its readers want it; section numbers are those of the OASIS standard."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bundler import __version__
from bundler.cli import output
from bundler.cli import run as run_program
from bundler.cli.sarif import log
from bundler.errors import Unreachable, ValidationFailed
from bundler.model.finding import Finding

SECRET = Finding(
    "plain-secret",
    "holds values in clear (password)",
    file="prod/eu/10-configuration.yaml",
    pointer="/data/password",
    object="Secret/shop/database",
    environment="prod/eu",
    service="cart",
    hint="encrypt it",
)
YAML = Finding("invalid-yaml", "key 'a' stands twice", file="overlays/my prod/a.yaml", line=7)
PROJECT = Finding("project-file", "no library 'mony'", pointer="/services/cart/uses")
CODE = Finding("unreachable", "registry.example.com does not answer", service="cart")
WARNING = Finding("missing-requests", "…", "warning", object="Deployment/shop/cart")


def run(*findings: Finding, error: Any = None) -> Mapping[str, Any]:
    document = json.loads(json.dumps(log(findings, error)))
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-schema-2.1.0.json")
    (only,) = document["runs"]
    assert isinstance(only, dict)
    return only


def only(of: Finding) -> Any:
    (result,) = run(of)["results"]
    return result


def test_the_log_names_the_tool_its_version_and_the_rules_that_were_broken() -> None:
    driver = run(SECRET, YAML, SECRET)["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("bundler", __version__)
    assert [rule["id"] for rule in driver["rules"]] == ["invalid-yaml", "plain-secret"]
    assert driver["rules"][1] == {
        "id": "plain-secret",
        "shortDescription": {"text": "a Secret whose values stand there in clear"},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["objects"]},
    }


@pytest.mark.requirement("B-71")
def test_every_finding_is_a_result_with_its_rule_and_level() -> None:
    found = run(SECRET, WARNING, YAML, PROJECT, CODE)
    rules = [rule["id"] for rule in found["tool"]["driver"]["rules"]]
    assert [result["ruleId"] for result in found["results"]] == [
        "plain-secret",
        "missing-requests",
        "invalid-yaml",
        "project-file",
        "unreachable",
    ]
    for result in found["results"]:  # 3.27.6: the index leads to the rule of that id
        assert rules[result["ruleIndex"]] == result["ruleId"]
    assert [result["level"] for result in found["results"]] == ["error", "warning", *["error"] * 3]


def test_a_file_of_the_repository_is_the_place_with_its_line() -> None:
    (location,) = only(YAML)["locations"]
    assert location == {
        "physicalLocation": {
            "artifactLocation": {"uri": "overlays/my%20prod/a.yaml", "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": 7},
        }
    }


def test_a_rendered_object_is_a_logical_place_below_the_project_file() -> None:
    (location,) = only(SECRET)["locations"]
    assert location == {
        "physicalLocation": {"artifactLocation": {"uri": "bundler.yaml", "uriBaseId": "%SRCROOT%"}},
        "logicalLocations": [
            {
                "name": "Secret/shop/database",
                "fullyQualifiedName": "prod/eu/Secret/shop/database#/data/password",
                "kind": "object",
            }
        ],
    }


def test_what_sarif_has_no_place_for_is_kept_beside_it() -> None:
    result = only(SECRET)
    assert result["message"]["text"] == "holds values in clear (password) (encrypt it)"
    assert result["properties"] == {
        "file": "prod/eu/10-configuration.yaml",
        "pointer": "/data/password",
        "object": "Secret/shop/database",
        "service": "cart",
        "environment": "prod/eu",
        "hint": "encrypt it",
    }


def test_a_finding_is_known_again_when_it_moves_or_is_worded_otherwise() -> None:
    def fingerprint(line: int, message: str, file: str = "a.yaml") -> Any:
        finding = Finding("invalid-yaml", message, file=file, line=line)
        return only(finding)["partialFingerprints"]

    assert fingerprint(7, "one") == fingerprint(8, "other")
    assert fingerprint(7, "one") != fingerprint(7, "one", "b.yaml")


def test_a_run_without_findings_is_a_log_too() -> None:
    found = run()
    assert found["results"] == []
    assert found["invocations"] == [{"executionSuccessful": True}]


def test_an_error_is_told_beside_its_findings() -> None:
    error = ValidationFailed("the rendered bundle has 1 error", findings=[SECRET])
    (invocation,) = run(SECRET, error=error)["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["exitCode"] == 4
    (notification,) = invocation["toolExecutionNotifications"]
    assert notification["descriptor"] == {"id": "validation-failed"}
    assert notification["message"] == {"text": "the rendered bundle has 1 error"}


def values(of: Any) -> Iterator[Any]:
    yield of
    for inner in of.values() if isinstance(of, dict) else of if isinstance(of, list) else ():
        yield from values(inner)


def test_nothing_is_null_and_every_level_is_one_of_sarifs() -> None:
    """3.5: a property without a value is left out."""
    found = run(SECRET, WARNING, YAML, PROJECT, CODE, error=Unreachable("x", hint="y"))
    for value in values(found):
        assert value is not None
        if isinstance(value, dict) and "level" in value:
            assert value["level"] in ("none", "note", "warning", "error")


@pytest.fixture
def sarif() -> Iterator[None]:
    token = output.FORMAT.set(output.Format.sarif)
    yield
    output.FORMAT.reset(token)


@pytest.mark.usefixtures("sarif")
def test_a_result_as_sarif_is_its_findings_and_its_lines_stand_aside(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.show({"objects": 1}, ["v1.0.0 is valid"], [WARNING])
    told = capsys.readouterr()
    assert [r["ruleId"] for r in json.loads(told.out)["runs"][0]["results"]] == ["missing-requests"]
    assert told.err == "v1.0.0 is valid\n"


@pytest.mark.usefixtures("sarif")
def test_an_error_as_sarif_is_told_to_people_too(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_error(ValidationFailed("the rendered bundle has 1 error", findings=[SECRET]))
    told = capsys.readouterr()
    assert len(json.loads(told.out)["runs"][0]["results"]) == 1
    assert "✗ prod/eu Secret/shop/database cart" in told.err


@pytest.mark.parametrize("command", ["list", "render", "resolve"])
def test_what_has_no_findings_for_a_result_does_not_answer_in_sarif(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program([command, "-o", "sarif"]) == 2
    assert "only validate and publish answer in SARIF" in capsys.readouterr().err


def test_a_command_line_that_is_wrong_is_answered_in_sarif_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    token = output.FORMAT.set(output.Format.text)
    assert run_program(["validate", "-o", "sarif", "--nope"]) == 2
    output.FORMAT.reset(token)
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["invocations"][0]["executionSuccessful"] is False


@pytest.mark.requirement("B-71")
def test_all_findings_are_printed_errors_first_and_each_rules_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    findings = [WARNING, SECRET, YAML, WARNING, SECRET]
    output.show_findings(findings * 3)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.endswith("]")]
    rules = [line.rpartition("[")[2].rstrip("]") for line in lines]
    assert rules == ["invalid-yaml"] * 3 + ["plain-secret"] * 6 + ["missing-requests"] * 6


def test_many_findings_are_counted_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_findings([WARNING] * 11 + [SECRET])
    last = capsys.readouterr().err.splitlines()[-1].strip()
    assert last == "12 findings: 1 plain-secret, 11 missing-requests"
