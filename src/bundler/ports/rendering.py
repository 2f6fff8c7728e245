"""What renders overlays and charts, and what knows the schemas of objects and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Protocol

from bundler.model.bundle import PinnedChart, PinnedOverlay
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject


class Renderer(Protocol):
    @property
    def name(self) -> str: ...

    def version(self) -> str:
        """Such as `v5.8.2`. Raises ToolMissing."""
        ...

    def render(self, tree: PurePath, overlay: PinnedOverlay) -> bytes:
        """The YAML documents of an overlay, with what is put on top of it.

        `tree` is an export made by `SourceReader.exported`. Raises RenderFailed with the
        renderer's own words and the environment's name, and ToolMissing.
        """
        ...

    def render_part(self, tree: PurePath, overlay: PinnedOverlay, components: int) -> bytes:
        """The documents of an overlay before its own patches and other changes.

        Of its components it has the first so many. Nothing else may read this tree meanwhile.
        Raises as `render` does.
        """
        ...


class ChartRenderer(Protocol):
    @property
    def name(self) -> str: ...

    def version(self) -> str:
        """Such as `v3.22.0`. Raises ToolMissing."""
        ...

    def values(self, tree: PurePath, chart: PinnedChart) -> Mapping[str, Any]:
        """What a chart's templates would see as values, before `chart.values`.

        The chart's own, those of its subcharts below their names, then the files of values.
        Raises RenderFailed for a chart that may not be rendered, with all findings.
        """
        ...

    def check(self, tree: PurePath, chart: PinnedChart) -> Sequence[Finding]:
        """What in the templates that are reached may differ from one render to the next.

        Raises RenderFailed as `values` does.
        """
        ...

    def render(self, tree: PurePath, chart: PinnedChart) -> bytes:
        """The YAML documents of a chart, CRDs and hooks among them, tests left out.

        Raises RenderFailed with the renderer's own words, and ToolMissing.
        """
        ...


class ObjectSchemas(Protocol):
    def newest(self) -> str:
        """The newest Kubernetes version known, such as `1.36`."""
        ...

    def known(self, version: str) -> bool: ...

    def prepare(self, version: str) -> None:
        """Read what `check` would read first, while there is time for it."""
        ...

    def with_crds(self, crds: Sequence[KubernetesObject]) -> ObjectSchemas:
        """These schemas and those of CRDs that are supplied beside the objects."""
        ...

    def check(
        self, version: str, objects: Sequence[KubernetesObject]
    ) -> Sequence[tuple[int, Finding]]:
        """Violations as (index of the object, finding with pointer and message); no network.

        CRDs among the objects are checked themselves, and hold for all of the objects.
        """
        ...


class DocumentSchemas(Protocol):
    def check(self, schema: str, document: object) -> tuple[Finding, ...]:
        """Violations of one of our own schemas (`project`, `release`, …), with JSON pointers."""
        ...
