"""Layered configuration: base < type < environment < cluster < namespace, merged by one rule.

Mappings merge key by key, and `null` takes a key out. Lists whose items all have a `name` of their
own merge by it, in the order of the lower one, new items last; every other list is replaced. A
mapping or list is never replaced by something of another shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from bundler.model.finding import json_pointer

Level = Literal["base", "type", "environment", "cluster", "namespace"]
LEVELS: tuple[Level, ...] = ("base", "type", "environment", "cluster", "namespace")


class LayerConflict(ValueError):
    """What a layer says has another shape than what stands below it."""

    def __init__(self, steps: tuple[str, ...], below: object, above: object) -> None:
        super().__init__(f"{shape(above)} where there is {shape(below)}")
        self.steps = steps
        """The way there, as `find` takes it."""


@dataclass(frozen=True)
class Layer:
    """One file of configuration that a target has."""

    level: Level
    file: str
    """In the tag's tree."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """For the charts, over their files of values."""
    objects: tuple[Mapping[str, Any], ...] = ()
    """Parts of objects, for those of the same group, kind and name, whatever rendered them."""
    config_maps: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    """JSON pointer into the file → line."""

    def line(self, pointer: str) -> int | None:
        """The line of a place in the file, or of the nearest place around it."""
        while pointer and pointer not in self.lines:
            pointer = pointer.rpartition("/")[0]
        return self.lines.get(pointer)

    def place(self, pointer: str) -> str:
        line = self.line(pointer)
        return f"{self.file}:{line}" if line else self.file


def shape(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else "a single value"


def merge(below: Any, above: Any, steps: tuple[str, ...] = ()) -> Any:
    """What stands below, with what a layer says over it. Raises LayerConflict."""
    if below is None or above is None:
        return cleaned(above)
    if shape(below) != shape(above):
        raise LayerConflict(steps, below, above)
    if isinstance(above, Mapping):
        return _merge_mappings(below, above, steps)
    if isinstance(above, (list, tuple)) and names(below) and names(above):
        return _merge_named(below, above, steps)
    return above


def _merge_mappings(
    below: Mapping[str, Any], above: Mapping[str, Any], steps: tuple[str, ...]
) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(below.get(key), value, (*steps, key))
    return merged


def _merge_named(
    below: Sequence[Mapping[str, Any]],
    above: Sequence[Mapping[str, Any]],
    steps: tuple[str, ...],
) -> list[Any]:
    merged = {item["name"]: item for item in below}
    for item in above:
        name = item["name"]
        merged[name] = merge(merged.get(name), item, (*steps, name))
    return list(merged.values())


def names(items: Sequence[Any]) -> tuple[str, ...]:
    """The names of a list that merges by them; none for any other list."""
    found = [item.get("name") if isinstance(item, Mapping) else None for item in items]
    texts = tuple(name for name in found if isinstance(name, str))
    return texts if len(found) == len(texts) == len(set(texts)) else ()


def cleaned(value: Any) -> Any:
    """What a layer adds where nothing stands: without the keys that it takes out."""
    if isinstance(value, Mapping):
        return {key: cleaned(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [cleaned(item) if isinstance(item, Mapping) else item for item in value]
    return value


def difference(below: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What a tool that merges mappings alone has to be given to get from one to the other."""
    changes: dict[str, Any] = {key: None for key in below if key not in wanted}
    for key, value in wanted.items():
        lower = below.get(key)
        if isinstance(lower, Mapping) and isinstance(value, Mapping):
            if inner := difference(lower, value):
                changes[key] = inner
        elif key not in below or not same(lower, value):
            changes[key] = value
    return changes


def same(one: object, other: object) -> bool:
    """Whether two values are equal and of the same kind: 1 is not true."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


# --- paths --------------------------------------------------------------------------------------

_ABSENT = object()


class Found(NamedTuple):
    """A value in a document, and where it stands."""

    pointer: str
    value: Any


def find(value: Any, steps: Sequence[str], pointer: str = "") -> Found | None:
    """The value that steps lead to: keys, and in lists a name or a number.

    Where a `null` stands on the way, that is what is found: all below it was taken out.
    """
    for step in steps:
        if value is None:
            return Found(pointer, None)
        place, value = _step(value, step)
        if value is _ABSENT:
            return None
        pointer += json_pointer(place)
    return Found(pointer, value)


def _step(value: Any, step: str) -> tuple[object, Any]:
    if isinstance(value, Mapping):
        return step, value.get(step, _ABSENT)
    if isinstance(value, (list, tuple)):
        if step in (found := names(value)):
            return found.index(step), value[found.index(step)]
        if step.isdecimal() and int(step) < len(value):
            return int(step), value[int(step)]
    return step, _ABSENT


def leaves(value: Any, steps: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every single value, and every empty mapping and list, with the steps that lead to it."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*steps, key))
    elif isinstance(value, (list, tuple)) and value:
        for step, inner in zip(names(value) or map(str, range(len(value))), value, strict=True):
            yield from leaves(inner, (*steps, step))
    else:
        yield steps, value


def in_order(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """From the lowest to the highest."""
    return tuple(sorted(layers, key=lambda layer: LEVELS.index(layer.level)))


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two sets of values for helm, merged as helm merges: `null` stays, for helm to act on."""
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        if isinstance(lower, Mapping) and isinstance(value, Mapping):
            merged[key] = over(lower, value)
        else:
            merged[key] = value
    return merged
