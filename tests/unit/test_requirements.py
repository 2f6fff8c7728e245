"""Every delivered statement has a test, and the map in docs/ is the one that the marks give."""

from __future__ import annotations

from tools import requirements


def test_every_delivered_statement_has_a_test() -> None:
    tests = requirements.marked_tests()
    statements = requirements.delivered(requirements.DOCUMENT.read_text())
    assert statements
    assert not [identifier for identifier in statements if not tests.get(identifier)]


def test_every_mark_names_a_delivered_statement() -> None:
    statements = requirements.delivered(requirements.DOCUMENT.read_text())
    assert not requirements.marked_tests().keys() - statements.keys()


def test_the_map_is_up_to_date() -> None:
    text = requirements.DOCUMENT.read_text()
    assert text == requirements.updated(text, requirements.marked_tests())
