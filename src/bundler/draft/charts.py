"""Proposes environments that are installed by the charts of a repository."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from posixpath import basename, dirname
from typing import NamedTuple

from bundler.draft.environments import is_called_like_a_stage
from bundler.draft.parts import is_writable, legal_name

MANY = 12
_VALUES = re.compile(r"values[-._](?P<after>.+)\.ya?ml|(?P<before>.+)[-._]values\.ya?ml")
_IN_FOLDER = re.compile(r"(?P<name>.+)\.ya?ml")


class DraftChart(NamedTuple):
    """A chart as an environment would be installed by it."""

    environment: str
    chart: str
    values: tuple[str, ...] = ()


def draft_charts(charts: Iterable[str], files: Collection[str]) -> tuple[DraftChart, ...]:
    """A proposal for each file of values that is called like an environment; at most MANY."""
    found: list[DraftChart] = []
    for chart in _independent(tuple(charts)):
        named = sorted(_values_of(chart, files))
        found += [DraftChart(name, chart, (path,)) for name, path in named]
        if not named:
            found.append(DraftChart("prod", chart))
    return tuple(found[:MANY])


def _independent(charts: Collection[str]) -> Iterator[str]:
    """Those that are no subcharts of another one."""
    for chart in sorted(charts):
        inside = any(
            chart.startswith("charts/" if other == "." else f"{other}/charts/")
            for other in charts
            if other != chart
        )
        if is_writable(chart) and not inside:
            yield chart


def _values_of(chart: str, files: Collection[str]) -> Iterator[tuple[str, str]]:
    """(environment, file): beside the chart's own values, or in a folder `values` near it."""
    around = dirname(chart)
    folders = {_joined(folder, "values") for folder in (chart, around, dirname(around))}
    for path in files:
        if dirname(path) == ("" if chart == "." else chart):
            match = _VALUES.fullmatch(basename(path))
            name = (match["after"] or match["before"]) if match else ""
        elif dirname(path) in folders:
            match = _IN_FOLDER.fullmatch(basename(path))
            name = match["name"].removeprefix("values-") if match else ""
        else:
            continue
        if name and is_called_like_a_stage(name) and is_writable(path):
            yield legal_name(name, "default"), path


def _joined(folder: str, name: str) -> str:
    return name if folder in ("", ".") else f"{folder}/{name}"
