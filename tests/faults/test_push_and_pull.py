"""Every fault at every request of a push and of a pull."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from bundler.adapters.registry.patience import Patience
from bundler.model.artifact import Artifact
from bundler.model.reference import Repository
from tests.faults.fault_proxy import Fault
from tests.faults.faults import DAMAGING, LASTING, LEADING, PASSING, SLOW, has_body
from tests.faults.scenarios import (
    PATIENCE,
    SHORT,
    Outcome,
    Place,
    every_index,
    pull_from,
    push_to,
)

ONCE = (*PASSING, *DAMAGING, *LEADING)


def of_push(faults: Iterable[Fault]) -> list[Fault]:
    """Those that a push can meet: it reads no content."""
    return [fault for fault in faults if fault.meets is not has_body]


def pushes(
    place: Place,
    artifact: Artifact,
    fault: Fault,
    *,
    forever: bool = False,
    patience: Patience = PATIENCE,
) -> int:
    """Push to a fresh repository for each request; how many requests there are."""
    repositories: list[Repository] = []

    def run() -> None:
        repositories.append(place.fresh())
        push_to(place, repositories[-1], artifact, patience)

    def check(outcome: Outcome) -> None:
        published = place.published(repositories[-1])
        if outcome.error is None:
            assert published, str(outcome)
        assert published in (None, artifact), str(outcome)
        if outcome.error:  # what was left behind is no hindrance
            push_to(place, repositories[-1], artifact, PATIENCE)
            assert place.published(repositories[-1]) == artifact, str(outcome)

    return every_index(place, fault, run, check, forever=forever)


def pulls(
    place: Place,
    artifact: Artifact,
    fault: Fault,
    *,
    forever: bool = False,
    patience: Patience = PATIENCE,
) -> int:
    repository = place.fresh()
    push_to(place, repository, artifact, PATIENCE)

    def run() -> None:
        pull_from(place, repository, artifact, patience)

    return every_index(place, fault, run, lambda _: None, forever=forever)


@pytest.mark.requirement("B-83")
@pytest.mark.parametrize("fault", of_push(ONCE), ids=str)
def test_a_push_survives_a_fault_at_any_request(
    place: Place, artifact: Artifact, fault: Fault
) -> None:
    assert pushes(place, artifact, fault)


@pytest.mark.requirement("B-83")
@pytest.mark.parametrize("fault", of_push(SLOW), ids=str)
def test_a_push_waits_for_nobody_too_long(place: Place, artifact: Artifact, fault: Fault) -> None:
    assert pushes(place, artifact, fault, patience=SHORT)


@pytest.mark.requirement("B-83")
@pytest.mark.parametrize("fault", of_push(LASTING), ids=str)
def test_a_push_ends_cleanly_where_a_fault_lasts(
    place: Place, artifact: Artifact, fault: Fault
) -> None:
    assert pushes(place, artifact, fault, forever=True)


@pytest.mark.parametrize("fault", ONCE, ids=str)
def test_a_pull_survives_a_fault_at_any_request(
    place: Place, artifact: Artifact, fault: Fault
) -> None:
    pulls(place, artifact, fault)


@pytest.mark.parametrize("fault", SLOW, ids=str)
def test_a_pull_waits_for_nobody_too_long(place: Place, artifact: Artifact, fault: Fault) -> None:
    pulls(place, artifact, fault, patience=SHORT)


@pytest.mark.parametrize("fault", LASTING, ids=str)
def test_a_pull_ends_cleanly_where_a_fault_lasts(
    place: Place, artifact: Artifact, fault: Fault
) -> None:
    pulls(place, artifact, fault, forever=True)


@pytest.mark.requirement("B-86")
def test_a_token_that_expires_at_any_request_is_replaced(place: Place, artifact: Artifact) -> None:
    assert pushes(place, artifact, place.gate.expiry())
    assert pulls(place, artifact, place.gate.expiry())


@pytest.mark.requirement("B-86")
@pytest.mark.parametrize("error", ["", "insufficient_scope", "invalid_token"])
def test_a_registry_that_takes_no_token_is_not_asked_for_ever(
    place: Place, artifact: Artifact, error: str
) -> None:
    fault = place.gate.refusing_for_ever(error)
    assert pushes(place, artifact, fault, forever=True)
    assert pulls(place, artifact, fault, forever=True)
