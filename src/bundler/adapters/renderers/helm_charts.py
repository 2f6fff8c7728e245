"""Charts as values: what Chart.yaml says, the charts in charts/, and the values that come together.

How values and dependencies come together is helm's own rule (pkg/chartutil: coalesce.go,
dependencies.go of helm v3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from posixpath import normpath
from typing import Any

from bundler.adapters.renderers.chart_files import Files
from bundler.adapters.renderers.version_ranges import InvalidRange, satisfies
from bundler.model.layers import over

Values = Mapping[str, Any]
_NOTHING: Values = {}


@dataclass(frozen=True)
class Dependency:
    name: str
    version: str = ""
    alias: str = ""
    condition: str = ""
    tags: tuple[str, ...] = ()
    imports: tuple[tuple[str, str], ...] = ()
    """Path in its own values → path in those of the chart that needs it."""

    @property
    def key(self) -> str:
        """Where its values stand in those of the chart that needs it."""
        return self.alias or self.name

    def is_met_by(self, chart: Chart) -> bool:
        try:
            return chart.name == self.name and satisfies(chart.version, self.version)
        except InvalidRange:
            return False


@dataclass(frozen=True)
class Chart:
    place: str
    """Its folder in the tag's tree, or the archive that it is in."""
    is_packed: bool
    name: str
    version: str
    is_library: bool = False
    dependencies: tuple[Dependency, ...] = ()
    files: Files = field(default_factory=dict)
    """By path in the chart, those in charts/ left out."""
    values: Values = field(default_factory=dict)
    subcharts: tuple[Chart, ...] = ()

    def file(self, path: str) -> str:
        """Where one of its files is in the tag's tree."""
        return self.place if self.is_packed else normpath(f"{self.place}/{path}")

    def children(self) -> Iterator[tuple[str, Dependency | None, Chart]]:
        """The charts below it: key, the dependency that asks for it, chart."""
        for chart in self.subcharts:
            asking = [each for each in self.dependencies if each.is_met_by(chart)]
            for dependency in asking:
                yield dependency.key, dependency, chart
            if not asking:
                yield chart.name, None, chart


def template_paths(chart: Chart, name: str | None = None) -> Iterator[tuple[str, Chart]]:
    """How helm names a chart and those below it in what it says: `shop/charts/redis`."""
    own = name or chart.name
    yield own, chart
    for key, _, child in chart.children():
        yield from template_paths(child, f"{own}/charts/{key}")


# --- values -------------------------------------------------------------------------------------


def overlaid(files: Iterable[Values]) -> Values:
    """Files of values, a later one over the earlier ones; null stays, as it takes away."""
    result: Values = {}
    for each in files:
        result = over(result, each)
    return result


def coalesced(defaults: Values, given: Values) -> Values:
    """A chart's own values with what is given over them; a null takes a default away."""
    result = dict(defaults)
    for key, value in given.items():
        below = defaults.get(key)
        if value is None and key in defaults:
            del result[key]
        elif isinstance(value, Mapping) and isinstance(below, Mapping):
            result[key] = coalesced(below, value)
        else:
            result[key] = value
    return result


def effective(chart: Chart, given: Values) -> tuple[Values, tuple[Chart, ...]]:
    """The values that a chart's templates see, and the charts that are enabled, itself first.

    `global` stands where it is given, not once more below every subchart.
    """
    tags = _table(coalesced(chart.values, given), "tags")
    return _effective(chart, given, tags, _NOTHING)


def _effective(
    chart: Chart, given: Values, tags: Values, above: Values
) -> tuple[Values, tuple[Chart, ...]]:
    """`above`: what the charts around it have as `global`."""
    values = dict(coalesced(chart.values, given))
    globals_ = coalesced(_table(values, "global"), above)
    seen = {**values, "global": globals_}
    enabled = [chart]
    imported: Values = {}
    for key, dependency, child in chart.children():
        # A condition may name what the child's own values say.
        all_seen = {**seen, key: coalesced(child.values, _table(values, key))}
        if dependency is not None and not _is_enabled(dependency, all_seen, tags):
            continue
        own, charts = _effective(child, _table(values, key), tags, globals_)
        values[key] = own
        enabled += charts
        for source, target in dependency.imports if dependency else ():
            imported = coalesced(imported, _at(target, _table(own, source)))
    return coalesced(imported, values), tuple(enabled)


def _is_enabled(dependency: Dependency, values: Values, tags: Values) -> bool:
    """The first condition that is a boolean decides, else the tags."""
    for path in dependency.condition.split(","):
        *tables, last = path.strip().split(".")
        value = _table(values, ".".join(tables)).get(last)
        if isinstance(value, bool):
            return value
    said = [tags[tag] for tag in dependency.tags if isinstance(tags.get(tag), bool)]
    return any(said) or not said


def _table(values: Values, path: str) -> Values:
    """The mapping at a dotted path; empty where there is none."""
    found: Any = values
    for key in path.split(".") if path not in ("", ".") else ():
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else _NOTHING


def _at(path: str, values: Values) -> Values:
    for key in reversed(path.split(".")) if path not in ("", ".") else ():
        values = {key: values}
    return values
