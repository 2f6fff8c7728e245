"""What an apply would do, as a value (docs/results.md) and as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from bundler.cli.deployments import apply_value, counted, warning_lines, why
from bundler.cli.values import cut, cut_where_they_differ, one_line
from bundler.deploy.preview import Preview, reason_of
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Change, ChangeSet
from bundler.model.differences import ABSENT, FieldChange


def plan_value(
    bundle: VerifiedBundle, environment: str, previews: Iterable[Preview], saved: Any
) -> dict[str, Any]:
    return apply_value(bundle, environment, previews) | {"plan": saved}


def plan_lines(tag: str, environment: str, previews: Iterable[Preview]) -> Iterator[str]:
    for each in previews:
        place = f"{environment}/{each.target}"
        if each.plan is None:
            yield f"{place}: no plan"
            continue
        replaces = each.plan.replaces
        step = f"{replaces} → {tag}" if replaces else f"{tag}, the first"
        yield f"plan for {place}: {step}: {counted(ChangeSet(each.plan.changes).counts())}"
        yield from (f"  {line}" for line in warning_lines(each.plan))
        for change in each.plan.changes:
            if change.action != "unchanged":
                yield from _change(change)


def _change(change: Change) -> Iterator[str]:
    if change.action != "created":
        change = replace(change, reason=reason_of(change))
    words = f" ({why(change)})" if why(change) else ""
    yield f"  {change.action:<10} {change.ref}{words}"
    for field in change.fields:
        yield f"      {field.path}"
        yield from _sides(field)


def _sides(field: FieldChange) -> Iterator[str]:
    texts = {
        sign: one_line(value)
        for sign, value in (("-", field.before), ("+", field.after))
        if value is not ABSENT
    }
    both = len(texts) == len("-+")
    shown = cut_where_they_differ(*texts.values()) if both else map(cut, texts.values())
    for sign, text in zip(texts, shown, strict=True):
        yield f"        {sign} {text}"
