"""How two values differ, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bundler.model.field_path import with_item, with_key
from bundler.model.layers import names, same

HIDDEN = "(secret)"
"""What stands for the values of a Secret."""


class Absent:
    """What stands for the value of a field that only the other side has."""


ABSENT = Absent()


class Difference(NamedTuple):
    steps: tuple[str, ...]
    path: str
    """The steps, as people write them."""
    one: Any
    other: Any


@dataclass(frozen=True)
class FieldChange:
    """A field of an object and its two values; `ABSENT` where it was, or will be, not there."""

    path: str
    before: Any = field(repr=False)
    after: Any = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """As schemas/result-plan.json has it: a side without the field has no key."""
        sides = {"before": self.before, "after": self.after}
        return {"path": self.path} | {k: v for k, v in sides.items() if v is not ABSENT}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> FieldChange:
        return cls(value["path"], value.get("before", ABSENT), value.get("after", ABSENT))


def differences(
    one: Any, other: Any, steps: tuple[str, ...] = (), path: str = ""
) -> Iterator[Difference]:
    """Every field that differs, sorted; items of lists are told apart by their names, and a list
    without names is one field."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(one.keys() | other.keys()):
            inner = one.get(key, ABSENT), other.get(key, ABSENT)
            yield from differences(*inner, (*steps, key), with_key(path, key))
    elif isinstance(one, list) and isinstance(other, list) and names(one) and names(other):
        left, right = ({item["name"]: item for item in items} for items in (one, other))
        for name in sorted(left.keys() | right.keys()):
            inner = left.get(name, ABSENT), right.get(name, ABSENT)
            yield from differences(*inner, (*steps, name), with_item(path, name))
    elif not same(one, other):
        yield Difference(steps, path, one, other)
