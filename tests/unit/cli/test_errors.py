"""Errors as people read them."""

from __future__ import annotations

import pytest

from bundler.cli import output
from bundler.errors import Refused
from bundler.model.finding import Finding

HINT = "name it"


def shown(capsys: pytest.CaptureFixture[str], *findings: Finding) -> list[str]:
    output.show_error(Refused(str(findings[0]), hint=HINT, findings=findings))
    return capsys.readouterr().err.splitlines()


def test_each_object_is_told_once_also_where_the_same_is_said_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, other = (Finding("r", "kubectl manages it", object=f"Service/{x}") for x in "ab")
    assert shown(capsys, one, other)[:2] == [
        "error: Service/a: kubectl manages it",
        "  ✗ Service/b: kubectl manages it  [r]",
    ]


def test_a_hint_stands_once(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (Finding("r", f"no {x}", hint=HINT) for x in "ab")
    assert shown(capsys, one, other) == ["error: no a", "  ✗ no b  [r]", f"hint: {HINT}"]
