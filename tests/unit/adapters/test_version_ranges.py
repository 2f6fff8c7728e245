"""Ranges of versions, as github.com/Masterminds/semver reads them."""

from __future__ import annotations

import pytest

from bundler.adapters.renderers.version_ranges import InvalidRange, satisfies


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("1.2.3", "^1.2"), ("1.2.9", "~1.2.3"), ("1.9.0", "~1"), ("0.2.5", "^0.2.3"),
        ("0.0.3", "^0.0.3"), ("1.5.0", "1.x"), ("1.5.0", "1.x.x"), ("1.5.0", ">=1.0 <2.0"),
        ("3.1.0", "1 || 3"), ("1.4.7", "1.2 - 1.4"), ("1.0.0-rc.1", ">=1.0.0-0"), ("1.0.0", ""),
        ("1.0.0", "*"), ("v1.2.3", "1.2.3"), ("2.0.0", ">1"), ("1.2.3-b", "1.2.3-b"),
        ("0.0.9", "^0.0"), ("0.9.0", "^0"), ("1.2.3+b7", "1.2.3"), ("1.5.0", ">= 1.0, < 2"),
        ("1.2.0", "<=1.2"), ("1.2.9", "<=1.2"), ("6.0.0", "!=5.0.0"), ("6.0.0", "!=5"),
    ],
)  # fmt: skip
def test_a_version_is_in_a_range(version: str, wanted: str) -> None:
    assert satisfies(version, wanted)


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("2.0.0", "^1.2"), ("1.3.0", "~1.2.3"), ("0.3.0", "^0.2.3"), ("0.0.4", "^0.0.3"),
        ("2.0.0", "1.x"), ("1.5.0", ">= 1.0, < 1.5"), ("1.5.0", "1.2 - 1.4"),
        ("1.0.0-rc.1", "^1.0.0"), ("1.0.0-rc.1", "*"), ("5.0.0", "!=5.0.0"), ("1.9.0", ">1"),
        ("1.3.0", "<=1.2"), ("1.1.9", ">=1.2"), ("5.1.0", "!=5"),
    ],
)  # fmt: skip
def test_a_version_is_not_in_a_range(version: str, wanted: str) -> None:
    assert not satisfies(version, wanted)


@pytest.mark.parametrize(("version", "wanted"), [("1.0.0", "latest"), ("x", "1"), ("1.0.0", ">=")])
def test_other_text_is_no_range(version: str, wanted: str) -> None:
    with pytest.raises(InvalidRange):
        satisfies(version, wanted)
