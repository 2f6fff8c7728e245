"""What was rendered once is not rendered again, and nothing else is taken for it."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pytest

from bundler.adapters.renderers.cache import CachedCharts, CachedOverlays, RenderCache
from bundler.errors import RenderFailed
from bundler.model.bundle import PinnedChart, PinnedOverlay, PinnedTarget
from bundler.model.finding import Finding
from bundler.model.project import HelmRelease, ValuePaths
from tests.fakes.shop import environment

PINNED = PinnedTarget(environment(), environment().targets[0], ())
OVERLAY = PinnedOverlay(PINNED, "overlays/stage")
CHART = PinnedChart(PINNED, HelmRelease("charts/shop", "shop"), "1.36")


class Counting:
    """Both kinds of renderers: says what it was asked for, and how often."""

    name = "counting"

    def __init__(self, version: str = "v1.0.0") -> None:
        self.count = 0
        self._version = version

    def version(self) -> str:
        return self._version

    def values(self, tree: PurePath, chart: PinnedChart) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def check(self, tree: PurePath, chart: PinnedChart) -> Sequence[Finding]:  # noqa: ARG002
        return ()

    def render_part(self, tree: PurePath, overlay: PinnedOverlay, components: int) -> bytes:  # noqa: ARG002
        return b""

    def render(self, tree: PurePath, source: PinnedOverlay | PinnedChart) -> bytes:  # noqa: ARG002
        self.count += 1
        return f"kind: {source}\n".encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "renders"


def rendered(
    renderer: Counting, folder: Path, source: PinnedOverlay | PinnedChart, tree: str = "t1"
) -> bytes:
    """By a process of its own."""
    cache = RenderCache(folder)
    if isinstance(source, PinnedOverlay):
        return CachedOverlays(renderer, cache, tree).render(PurePath("x"), source)
    return CachedCharts(renderer, cache, tree).render(PurePath("x"), source)


@pytest.mark.parametrize("source", [OVERLAY, CHART])
def test_the_same_inputs_are_rendered_once(
    folder: Path, source: PinnedOverlay | PinnedChart
) -> None:
    renderer = Counting()
    first = rendered(renderer, folder, source)
    assert rendered(renderer, folder, source) == first
    assert renderer.count == 1


OTHER_TARGET = replace(PINNED, target=replace(PINNED.target, namespace="other"))
DIFFERENT = [
    (OVERLAY, replace(OVERLAY, folder="overlays/prod")),
    (OVERLAY, replace(OVERLAY, config_maps={"c": {"LEVEL": "debug"}})),
    (CHART, replace(CHART, pinned=OTHER_TARGET)),
    (CHART, replace(CHART, kubernetes="1.30")),
    (CHART, replace(CHART, values={"cart": {"tag": "v1"}})),
    (CHART, replace(CHART, release=replace(CHART.release, values=("values/prod.yaml",)))),
    (
        CHART,
        replace(CHART, release=replace(CHART.release, pins={"cart": (ValuePaths("cart.image"),)})),
    ),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_whatever_differs_is_rendered(
    folder: Path, one: PinnedOverlay | PinnedChart, other: PinnedOverlay | PinnedChart
) -> None:
    renderer = Counting()
    assert rendered(renderer, folder, one) != b""
    rendered(renderer, folder, other)
    assert renderer.count == 2


def test_another_tree_or_version_of_the_renderer_is_rendered(folder: Path) -> None:
    old, new = Counting(), Counting("v2.0.0")
    rendered(old, folder, OVERLAY)
    rendered(old, folder, OVERLAY, tree="t2")
    rendered(new, folder, OVERLAY)
    assert (old.count, new.count) == (2, 1)


def test_what_is_damaged_is_rendered_again(folder: Path) -> None:
    renderer = Counting()
    first = rendered(renderer, folder, OVERLAY)
    (kept,) = [path for path in folder.rglob("*") if path.is_file()]
    content = kept.read_bytes()
    for damaged in (b"", content[:-1], content[:40] + b"x" + content[41:]):
        kept.write_bytes(damaged)
        assert rendered(renderer, folder, OVERLAY) == first
    assert renderer.count == 4


def test_a_failure_is_not_kept(folder: Path) -> None:
    class Failing(Counting):
        def render(self, *_: object) -> bytes:
            raise RenderFailed("no")

    with pytest.raises(RenderFailed):
        rendered(Failing(), folder, OVERLAY)
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_nobody_else_can_read_what_was_rendered(folder: Path) -> None:
    rendered(Counting(), folder, OVERLAY)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert modes == {0o700, 0o600}


def test_a_folder_that_cannot_be_written_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert rendered(Counting(), tmp_path / "file" / "renders", OVERLAY)
