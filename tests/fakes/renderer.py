"""A Renderer without a program: overlays are folders of JSON objects in the tree."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from bundler.errors import RenderFailed
from bundler.manifests import write_documents
from bundler.model.bundle import PinnedOverlay
from bundler.model.objects import image_name
from bundler.publish.images import images_of, with_images


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
            self.overlays.append(overlay.target.kustomize)
        folder = Path(tree) / overlay.target.kustomize
        if not (folder / "kustomization.yaml").is_file():
            raise RenderFailed(
                f"{overlay.place}: overlay {overlay.target.kustomize} has no kustomization.yaml"
            )
        names = json.loads((folder / "kustomization.yaml").read_text())["resources"]
        objects = [json.loads((folder / name).read_text()) for name in names]
        return write_documents(_pinned(obj, overlay) for obj in objects)


def _pinned(obj: Mapping[str, Any], overlay: PinnedOverlay) -> Mapping[str, Any]:
    if not isinstance(obj.get("metadata"), Mapping):
        return obj
    pins = {pin.name: str(pin.image) for pin in overlay.pins}
    uses = [use.image for use in images_of(obj)]
    return with_images(
        obj, {image: pins[image_name(image)] for image in uses if image_name(image) in pins}
    )


def write_overlay(tree: Path, folder: str, *objects: Mapping[str, Any]) -> None:
    """An overlay that this renderer and kustomize understand alike (JSON is YAML)."""
    place = tree / folder
    place.mkdir(parents=True, exist_ok=True)
    names = [f"{number}.yaml" for number, _ in enumerate(objects)]
    for name, obj in zip(names, objects, strict=True):
        (place / name).write_text(json.dumps(obj))
    (place / "kustomization.yaml").write_text(json.dumps({"resources": names}))
