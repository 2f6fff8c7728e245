"""Which ConfigMaps an overlay generates, under which names they end up: so that more can be merged
into them, which kustomize allows for what exists, under its name and namespace at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.adapters.renderers.kustomization_scan import find_kustomization
from bundler.manifests import InvalidYaml, read_documents


@dataclass(frozen=True)
class GeneratedConfigMap:
    name: str
    """Without the suffix of its hash."""
    namespace: str | None = None


def generated_config_maps(folder: Path) -> tuple[GeneratedConfigMap, ...]:
    """Those of the kustomization in a folder, which was scanned and found in order."""
    return _accumulated(folder.resolve(), (), ())


def _accumulated(
    folder: Path, below: tuple[GeneratedConfigMap, ...], trail: tuple[Path, ...]
) -> tuple[GeneratedConfigMap, ...]:
    """What there is after a kustomization, or after a component over what is there already."""
    document = _document(folder)
    if folder in trail:
        return below
    trail = (*trail, folder)
    for entry in _entries(document, "resources", "bases"):
        place = (folder / entry).resolve()
        if place.is_dir():
            below += _accumulated(place, (), trail)
    for generator in document.get("configMapGenerator") or ():
        if isinstance(generator, Mapping) and generator.get("behavior", "create") == "create":
            below += (GeneratedConfigMap(str(generator.get("name")), generator.get("namespace")),)
    for entry in _entries(document, "components"):
        below = _accumulated((folder / entry).resolve(), below, trail)
    return tuple(_transformed(each, document) for each in below)


def _transformed(each: GeneratedConfigMap, document: Mapping[str, Any]) -> GeneratedConfigMap:
    prefix, suffix = document.get("namePrefix") or "", document.get("nameSuffix") or ""
    namespace = document.get("namespace") or each.namespace
    return GeneratedConfigMap(f"{prefix}{each.name}{suffix}", namespace)


def _document(folder: Path) -> Mapping[str, Any]:
    file = find_kustomization(folder)
    if file is None:
        return {}
    try:
        documents = read_documents(file.read_bytes())
    except (InvalidYaml, OSError):
        return {}  # kustomize says what is wrong with it
    return documents[0] if documents and isinstance(documents[0], Mapping) else {}


def _entries(document: Mapping[str, Any], *keys: str) -> list[str]:
    lists = [document.get(key) for key in keys]
    return [e for each in lists if isinstance(each, list) for e in each if isinstance(e, str)]
