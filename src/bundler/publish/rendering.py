"""Runs the renderers: every overlay and chart of every target → the documents of each target."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, NamedTuple

from bundler.errors import RenderFailed
from bundler.manifests import InvalidYaml, read_documents
from bundler.model.bundle import PinnedChart, PinnedOverlay, PinnedTarget
from bundler.model.finding import Finding
from bundler.model.layers import difference, over
from bundler.model.project import Project
from bundler.parallel import threads
from bundler.ports import ChartRenderer, Renderer
from bundler.publish import layering
from bundler.publish.chart_pins import pin_chart
from bundler.publish.hooks import hooked
from bundler.publish.placement import flattened
from bundler.yaml_scalars import ambiguous_scalars

_SOURCE = re.compile(rb"^---\n# Source: (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Renderers:
    overlays: Renderer
    charts: ChartRenderer
    parallel: int = 2
    """How many run at a time: as many as there are processors, which each of them can fill."""

    def versions(self, project: Project) -> Mapping[str, str]:
        """Renderer name → version, of those that the project needs. Raises ToolMissing."""
        targets = [target for each in project.environments.values() for target in each.targets]
        needed: list[Renderer | ChartRenderer] = []
        if any(target.kustomize for target in targets):
            needed.append(self.overlays)
        if any(target.helm for target in targets):
            needed.append(self.charts)
        return {renderer.name: renderer.version() for renderer in needed}


class Documents(NamedTuple):
    """What one overlay or chart rendered, a `List` replaced by its items."""

    documents: Sequence[Any] = ()
    findings: tuple[Finding, ...] = ()


Source = PinnedOverlay | PinnedChart


@contextmanager
def rendering(project: Project, tree: PurePath, renderers: Renderers) -> Iterator[Rendering]:
    """All overlays are rendered from now on, while it is found out what their images are."""
    with threads(renderers.parallel, waits=True) as pool:
        started = Rendering(pool, _runner(project, tree, renderers))
        for environment in project.environments.values():
            for target in environment.targets:
                started.start(_overlays(PinnedTarget(environment, target, ())))
        yield started


class Rendering:
    """What is rendered; targets that share an overlay share a render."""

    def __init__(self, pool: ThreadPoolExecutor, run: Callable[[Source], Documents]) -> None:
        self._pool = pool
        self._run = run
        self._sources: dict[_Key, Source] = {}
        self._running: dict[_Key, Future[Documents]] = {}

    def start(self, sources: Iterable[Source]) -> None:
        for source in sources:
            key = _key(source)
            if key not in self._running:
                self._sources[key] = source
                self._running[key] = self._pool.submit(self._run, source)

    def documents(
        self, targets: Sequence[PinnedTarget], newest_kubernetes: str
    ) -> Iterator[Documents]:
        """The documents of each target, in order and as soon as they are rendered.

        Raises RenderFailed with all that does not render, and ToolMissing.
        """
        sources: list[tuple[Source, ...]] = [
            (*_overlays(each), *_charts(each, newest_kubernetes)) for each in targets
        ]
        self.start(source for each in sources for source in each)
        for pinned, each in zip(targets, sources, strict=True):
            parts = [self._running[_key(source)] for source in each]
            if any(isinstance(part.exception(), RenderFailed) for part in parts):
                break
            yield _together(pinned.place, [part.result() for part in parts])
        _raise_for(self._sources, self._running)


def _overlays(pinned: PinnedTarget) -> tuple[PinnedOverlay, ...]:
    """The overlay of a target, if it has one; what is rendered of it has no pins yet."""
    target = pinned.target
    maps = layering.settings(target)
    return (PinnedOverlay(pinned, target.kustomize, maps),) if target.kustomize else ()


def _charts(pinned: PinnedTarget, newest_kubernetes: str) -> tuple[PinnedChart, ...]:
    kubernetes = pinned.environment.kubernetes or newest_kubernetes
    return tuple(PinnedChart(pinned, release, kubernetes) for release in pinned.target.helm)


_Key = tuple[str, str]


def _key(source: Source) -> _Key:
    """What a render depends on. A chart sees its namespace and more: it is its target's own."""
    if isinstance(source, PinnedOverlay):
        return source.folder, json.dumps(source.config_maps, sort_keys=True)
    return source.place, source.release.name


def _runner(
    project: Project, tree: PurePath, renderers: Renderers
) -> Callable[[Source], Documents]:
    def run(source: Source) -> Documents:
        if isinstance(source, PinnedOverlay):
            output = renderers.overlays.render(tree, source)
            read = _read(source, renderers.overlays.name, output)
            documents, refused = hooked(source.place, read.documents, source.folder)
            return Documents(documents, (*read.findings, *refused))
        chart, findings = layered_chart(project, source, renderers.charts.values(tree, source))
        findings += renderers.charts.check(tree, chart)
        output = renderers.charts.render(tree, chart)
        read = _read(source, renderers.charts.name, output)
        documents, refused = hooked(source.place, read.documents, source.release.chart)
        return Documents(documents, (*findings, *read.findings, *refused))

    return run


def layered_chart(
    project: Project, chart: PinnedChart, values: Mapping[str, Any]
) -> tuple[PinnedChart, list[Finding]]:
    """The chart with the values of its target's layers, and over them those of its pins."""
    target = chart.pinned.target
    layered, conflicts = layering.layered_values(chart.place, target, values)
    pinned, findings = pin_chart(project, chart, layered)
    together = over(difference(values, layered), pinned.values)
    return replace(pinned, values=together), [*conflicts, *findings]


def _read(source: Source, renderer: str, output: bytes) -> Documents:
    try:
        documents = tuple(flattened(read_documents(output)))
    except InvalidYaml as error:
        line = f" in line {error.line} of what {renderer} rendered" if error.line else ""
        finding = Finding(
            "render",
            f"{error}{line}",
            file=_file(source, output, error.line or 1),
            environment=source.place,
        )
        raise RenderFailed(
            f"{source.place}: {renderer} rendered invalid YAML", findings=[finding]
        ) from error
    # A line of the output is none of a file that anybody has.
    return Documents(
        documents,
        tuple(
            replace(finding, file=_file(source, output, finding.line or 1), line=None)
            for finding in ambiguous_scalars(output)
        ),
    )


def _file(source: Source, output: bytes, line: int) -> str:
    """What a line of the output comes from: an overlay's folder, or a chart's template.

    helm says it in a comment, with names and aliases of charts for their folders.
    """
    if isinstance(source, PinnedOverlay):
        return source.folder
    before = b"\n".join(output.split(b"\n", line)[:line])
    said = _SOURCE.findall(before)
    path = said[-1].decode(errors="replace").partition("/")[2] if said else ""
    return f"{source.release.chart}/{path}" if path else source.release.chart


def _together(place: str, parts: Sequence[Documents]) -> Documents:
    return Documents(
        [document for part in parts for document in part.documents],
        tuple(replace(finding, environment=place) for part in parts for finding in part.findings),
    )


def _raise_for(sources: Mapping[_Key, Source], running: Mapping[_Key, Future[Documents]]) -> None:
    failures = [
        (sources[key].place, error)
        for key, future in running.items()
        if isinstance(error := future.exception(), RenderFailed)
    ]
    if len(failures) == 1:
        raise failures[0][1]
    if not failures:
        return
    findings = [
        replace(finding, environment=finding.environment or place)
        for place, error in failures
        for finding in error.findings
        or (Finding("render", error.message, environment=place, hint=error.hint),)
    ]
    places = ", ".join(dict.fromkeys(place for place, _ in failures))
    raise RenderFailed(
        f"{len(failures)} of {len(running)} overlays and charts do not render: {places}",
        findings=findings,
    )
