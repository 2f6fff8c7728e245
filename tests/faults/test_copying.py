"""Faults at every request of a copy from one repository to another, both behind the proxy."""

from __future__ import annotations

import pytest

from bundler.adapters.docker_credentials import DockerCredentials
from bundler.adapters.oci_registry import OciRegistry
from bundler.model.artifact import Artifact, Descriptor
from bundler.model.reference import Repository
from tests.faults import faults
from tests.faults.fault_proxy import Fault
from tests.faults.scenarios import (
    Outcome,
    Place,
    check_images,
    copy_source,
    copy_to,
    every_index,
)

Source = tuple[Repository, Descriptor]
ONCE = [
    fault
    for fault in (*faults.PASSING, *faults.DAMAGING, *faults.LEADING)
    if fault.name
    in ("500", "answer-lost", "session-lost", "truncated", "flipped-bit", "307-elsewhere")
]
LASTING = [fault for fault in faults.LASTING if fault.name in ("403-forever", "reset-forever")]


@pytest.fixture(scope="session")
def source(place: Place, artifact: Artifact) -> Source:
    """A repository, as it is reached through the proxy, and an image in it."""
    repository = place.fresh()
    _, direct = place.behind(repository)
    registry = OciRegistry(credentials=DockerCredentials([]))
    return repository, copy_source(registry, direct, artifact)


def copies(place: Place, artifact: Artifact, source: Source, fault: Fault, *, forever: bool) -> int:
    repository, index = source
    places: list[Repository] = []

    def run() -> None:
        places.append(place.fresh())
        copy_to(place, repository, index, places[-1], artifact)

    def check(outcome: Outcome) -> None:
        published = place.published(places[-1])
        if outcome.error is None:
            assert published, str(outcome)
        if published:
            assert published == artifact, str(outcome)
            check_images(place, places[-1], index)
        if outcome.error:
            copy_to(place, repository, index, places[-1], artifact)
            assert place.published(places[-1]) == artifact, str(outcome)
            check_images(place, places[-1], index)

    return every_index(place, fault, run, check, forever=forever, blobs=4)


@pytest.mark.requirement("B-83")
@pytest.mark.parametrize("fault", ONCE, ids=str)
def test_a_copy_survives_a_fault_at_any_request(
    place: Place, artifact: Artifact, source: Source, fault: Fault
) -> None:
    copies(place, artifact, source, fault, forever=False)


@pytest.mark.requirement("B-83")
@pytest.mark.parametrize("fault", LASTING, ids=str)
def test_a_copy_ends_cleanly_where_a_fault_lasts(
    place: Place, artifact: Artifact, source: Source, fault: Fault
) -> None:
    assert copies(place, artifact, source, fault, forever=True)
