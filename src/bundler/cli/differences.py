"""How two targets differ, as a value and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bundler.cli.values import cut, one_line
from bundler.model.differences import ABSENT
from bundler.publish.examine.comparing import Comparison, Side


def value(comparison: Comparison) -> dict[str, Any]:
    return {
        "one": comparison.one,
        "other": comparison.other,
        "onlyInOne": list(map(str, comparison.only_in_one)),
        "onlyInOther": list(map(str, comparison.only_in_other)),
        "changed": [
            {
                "object": str(each.object),
                "fields": [
                    {"path": field.path} | _side("one", field.one) | _side("other", field.other)
                    for field in each.fields
                ],
            }
            for each in comparison.changed
        ],
    }


def _side(name: str, side: Side) -> dict[str, Any]:
    """A field that is not there has no key; the layer is named where one says so."""
    value = {} if side.value is ABSENT else {name: side.value}
    return value | ({f"{name}Layer": side.layer.place} if side.layer else {})


def lines(comparison: Comparison) -> Iterator[str]:
    yield f"--- {comparison.one}"
    yield f"+++ {comparison.other}"
    for ref in comparison.only_in_one:
        yield f"- {ref}"
    for ref in comparison.only_in_other:
        yield f"+ {ref}"
    for each in comparison.changed:
        yield f"  {each.object}"
        for field in each.fields:
            yield f"    {field.path}"
            yield from _shown("-", field.one)
            yield from _shown("+", field.other)
    if not (comparison.only_in_one or comparison.only_in_other or comparison.changed):
        yield "no differences"


def _shown(sign: str, side: Side) -> Iterator[str]:
    if side.value is ABSENT:
        return
    yield f"      {sign} {cut(one_line(side.value))}" + (
        f"  ({side.layer.place})" if side.layer else ""
    )
