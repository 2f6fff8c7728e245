"""What was rendered from a tree, kept in a folder: the same inputs are rendered once.

A file's name is the digest of all that a render depends on: the tag's whole tree, the renderer's
name and version, what is rendered, and what is put on top. It holds the digest of what follows, and
that: the output, compressed. What is damaged counts as absent.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any

from bundler.adapters.cache_folder import CacheFolder
from bundler.adapters.renderers.program import MAX_OUTPUT
from bundler.model.bundle import PinnedChart, PinnedOverlay
from bundler.model.finding import Finding
from bundler.ports import ChartRenderer, Renderer

MAX_CACHE_BYTES = 256 * 1024 * 1024
MAX_ENTRY_BYTES = 16 * 1024 * 1024
_FORMAT = 2
"""Of the key and the file; another number, and everything is rendered again."""
_FASTEST = 1


class RenderCache:
    """Outputs by what they depend on; threads and processes may share a folder."""

    def __init__(self, folder: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._folder = CacheFolder(str(folder), max_bytes, MAX_ENTRY_BYTES)

    def output(self, inputs: Mapping[str, Any], render: Callable[[], bytes]) -> bytes:
        """What was rendered from these inputs, or is now. Raises what `render` raises."""
        text = json.dumps({"format": _FORMAT, **inputs}, sort_keys=True)
        name = sha256(text.encode()).hexdigest()
        output = _unpacked(self._folder.read(name))
        if output is None:
            output = render()
            self._folder.write(name, _packed(output))
        return output


def _packed(output: bytes) -> bytes:
    compressed = zlib.compress(output, _FASTEST)
    return sha256(compressed).digest() + compressed


def _unpacked(content: bytes | None) -> bytes | None:
    size = sha256().digest_size
    if content is None or sha256(content[size:]).digest() != content[:size]:
        return None
    return zlib.decompressobj().decompress(content[size:], MAX_OUTPUT + 1)


def _inputs(
    tree: str, renderer: Renderer | ChartRenderer, source: PinnedOverlay | PinnedChart
) -> Mapping[str, Any]:
    """All that a render depends on; of its target it sees the namespace alone."""
    return {
        "tree": tree,
        "renderer": [renderer.name, renderer.version()],
        "namespace": source.pinned.target.namespace,
        **{each.name: _plain(getattr(source, each.name)) for each in fields(source)[1:]},
    }


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


class CachedOverlays:
    """Implements `bundler.ports.Renderer` for one tree."""

    def __init__(self, renderer: Renderer, cache: RenderCache, tree: str) -> None:
        """`tree` is the id of the tree that all is rendered from."""
        self._renderer = renderer
        self._cache = cache
        self._tree = tree

    @property
    def name(self) -> str:
        return self._renderer.name

    def version(self) -> str:
        return self._renderer.version()

    def render(self, tree: PurePath, overlay: PinnedOverlay) -> bytes:
        inputs = _inputs(self._tree, self._renderer, overlay)
        return self._cache.output(inputs, lambda: self._renderer.render(tree, overlay))

    def render_part(self, tree: PurePath, overlay: PinnedOverlay, components: int) -> bytes:
        return self._renderer.render_part(tree, overlay, components)


class CachedCharts:
    """Implements `bundler.ports.ChartRenderer` for one tree."""

    def __init__(self, renderer: ChartRenderer, cache: RenderCache, tree: str) -> None:
        """`tree` is the id of the tree that all is rendered from."""
        self._renderer = renderer
        self._cache = cache
        self._tree = tree

    @property
    def name(self) -> str:
        return self._renderer.name

    def version(self) -> str:
        return self._renderer.version()

    def values(self, tree: PurePath, chart: PinnedChart) -> Mapping[str, Any]:
        return self._renderer.values(tree, chart)

    def check(self, tree: PurePath, chart: PinnedChart) -> Sequence[Finding]:
        return self._renderer.check(tree, chart)

    def render(self, tree: PurePath, chart: PinnedChart) -> bytes:
        inputs = _inputs(self._tree, self._renderer, chart)
        return self._cache.output(inputs, lambda: self._renderer.render(tree, chart))
