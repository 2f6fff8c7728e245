"""Faults at every request of a copy, a save and a load, with images and what refers to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.adapters.layout.oci_tar import OciTarWriter
from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.model.artifact import Artifact
from bundler.model.reference import Repository
from tests.faults import faults
from tests.faults.routes import BLOBS, Goods, Route, ToFile, ToRegistry, send
from tests.faults.scenarios import SHORT, Place
from tests.faults.storms import lottery, one_of, weather

ONCE = (*faults.PASSING, *faults.DAMAGING, *faults.LEADING)
UNNOTICED = tuple(fault for fault in ONCE if not fault.errors)
NOTICED = tuple(fault for fault in ONCE if fault.errors)
WAYS = ("copy", "save", "load")
UPLOADS = {"session-elsewhere", "session-lost"}
"""A save sends nothing."""

Sources = tuple[Repository, Repository]


@pytest.fixture(scope="session")
def goods(artifact: Artifact) -> Goods:
    return Goods.around(artifact)


@pytest.fixture(scope="session")
def sources(place: Place, goods: Goods) -> Sources:
    """Where bundles and images are; the latter can be mounted from there."""
    repository = place.fresh()
    _, direct = place.behind(repository)
    goods.put(OciRegistry(credentials=DockerCredentials([])), direct)
    return Repository("oci", f"{place.alias}/{repository.name}"), repository


@pytest.fixture(scope="session")
def file_folder(
    place: Place, goods: Goods, sources: Sources, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Has the goods in `shop.tar`."""
    folder = tmp_path_factory.mktemp("saved")
    to = Repository("ocitar", "shop.tar")
    with OciTarWriter(folder / "shop.tar") as writer:
        send(place.registry(), writer, goods, sources, (to, to))
    return folder


@pytest.fixture(params=WAYS)
def route(
    request: pytest.FixtureRequest,
    place: Place,
    goods: Goods,
    sources: Sources,
    file_folder: Path,
    tmp_path: Path,
) -> Route:
    tar = Repository("ocitar", "shop.tar")
    ways: dict[str, Callable[[], Route]] = {
        "copy": lambda: ToRegistry(place, goods, sources),
        "save": lambda: ToFile(place, goods, sources, tmp_path),
        "load": lambda: ToRegistry(place, goods, (tar, tar), file_folder),
    }
    return ways[request.param]()


@pytest.mark.requirement("B-83")
def test_it_survives_all_that_passes_at_any_request(place: Place, route: Route) -> None:
    met = weather(place, UNNOTICED, route.run, route.check, blobs=BLOBS)
    unmet = {name for name, times in met.items() if not times}
    assert unmet <= (UPLOADS if isinstance(route, ToFile) else set())


@pytest.mark.requirement("B-83")
def test_it_waits_for_nobody_too_long(place: Place, route: Route) -> None:
    slow = one_of("slow", faults.SLOW)
    assert weather(place, [slow], lambda: route.run(SHORT), route.check, blobs=BLOBS)["slow"]


@pytest.mark.requirement("B-83", "B-86")
def test_it_survives_what_it_can_and_else_ends_cleanly(place: Place, route: Route) -> None:
    assert lottery(
        place, (*NOTICED, place.gate.expiry()), route.run, route.check, blobs=BLOBS
    )  # fmt: skip


@pytest.mark.requirement("B-83", "B-86")
def test_it_ends_cleanly_where_a_fault_lasts(place: Place, route: Route) -> None:
    lasting = (*faults.LASTING, *map(place.gate.refusing_for_ever, ("", "insufficient_scope")))
    assert lottery(place, lasting, route.run, route.check, blobs=BLOBS, forever=True)
