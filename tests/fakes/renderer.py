"""Renderers without a program: overlays and charts are folders of JSON objects in the tree."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from bundler.errors import RenderFailed
from bundler.manifests import write_documents
from bundler.model.bundle import PinnedChart, PinnedOverlay
from bundler.model.finding import Finding
from bundler.publish.rendering import Renderers


class FolderRenderer:
    """Implements `bundler.ports.Renderer`; `overlays` counts what it rendered."""

    name = "folders"

    def __init__(self) -> None:
        self.overlays: list[str] = []
        self._lock = threading.Lock()

    def version(self) -> str:
        return "v1.0.0"

    def render(self, tree: PurePath, overlay: PinnedOverlay) -> bytes:
        with self._lock:
            self.overlays.append(overlay.folder)
        folder = Path(tree) / overlay.folder
        if not (folder / "kustomization.yaml").is_file():
            raise RenderFailed(
                f"{overlay.place}: overlay {overlay.folder} has no kustomization.yaml"
            )
        names = json.loads((folder / "kustomization.yaml").read_text())["resources"]
        objects = [json.loads((folder / name).read_text()) for name in names]
        return write_documents(objects)

    def render_part(self, tree: PurePath, overlay: PinnedOverlay, components: int) -> bytes:  # noqa: ARG002
        return self.render(tree, overlay)  # there is nothing in it but resources


class FolderCharts:
    """Implements `bundler.ports.ChartRenderer`: `{{PATH}}` in a template is a value."""

    name = "charts"

    def version(self) -> str:
        return "v2.0.0"

    def values(self, tree: PurePath, chart: PinnedChart) -> Mapping[str, Any]:
        folder = Path(tree) / chart.release.chart
        if not (folder / "values.json").is_file():
            raise RenderFailed(f"{chart.place}: {chart.release.chart} is no chart")
        values: dict[str, Any] = json.loads((folder / "values.json").read_text())
        return values

    def check(self, tree: PurePath, chart: PinnedChart) -> Sequence[Finding]:  # noqa: ARG002
        return ()

    def render(self, tree: PurePath, chart: PinnedChart) -> bytes:
        text = (Path(tree) / chart.release.chart / "templates.json").read_text()
        for path, value in _leaves(_merged(self.values(tree, chart), chart.values), ""):
            text = text.replace("{{" + path + "}}", str(value))
        return write_documents(json.loads(text))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(inner, value)
        else:
            merged[key] = value
    return merged


def _leaves(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield path + key, value


def folder_renderers(overlays: FolderRenderer | None = None) -> Renderers:
    return Renderers(overlays or FolderRenderer(), FolderCharts())


def write_chart(
    tree: Path, folder: str, values: Mapping[str, Any], *objects: Mapping[str, Any]
) -> None:
    """A chart that FolderCharts understands."""
    place = tree / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / "values.json").write_text(json.dumps(values))
    (place / "templates.json").write_text(json.dumps(objects))


def write_overlay(tree: Path, folder: str, *objects: Mapping[str, Any]) -> None:
    """An overlay that this renderer and kustomize understand alike (JSON is YAML)."""
    place = tree / folder
    place.mkdir(parents=True, exist_ok=True)
    names = [f"{number}.yaml" for number, _ in enumerate(objects)]
    for name, obj in zip(names, objects, strict=True):
        (place / name).write_text(json.dumps(obj))
    (place / "kustomization.yaml").write_text(json.dumps({"resources": names}))
