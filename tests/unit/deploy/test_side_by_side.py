"""What becomes of errors, where many requests run side by side."""

from __future__ import annotations

import threading

import pytest

from bundler.deploy.apply import Applied, apply_wave
from bundler.errors import (
    BundlerError,
    FieldConflict,
    ImmutableField,
    NotReady,
    Refused,
    Unreachable,
)
from bundler.model.changeset import Change, Wave
from bundler.model.claim import NO_CLAIM, Claim
from bundler.model.objects import KubernetesObject, ObjectRef
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import config_map


class Failing(FakeCluster):
    """Every object meets an error of its own, when all have been sent."""

    def __init__(self, errors: dict[str, BundlerError]) -> None:
        super().__init__()
        self.errors = errors
        self._all_sent = threading.Barrier(len(errors))

    def apply(
        self,
        obj: KubernetesObject,
        *,
        dry_run: bool = False,
        claim: Claim = NO_CLAIM,
    ) -> KubernetesObject:
        del dry_run, claim
        self._all_sent.wait(10)
        raise self.errors[obj["metadata"]["name"]]


def wave(*names: str) -> Wave:
    objects = [config_map(name) for name in names]
    return Wave(
        "configuration",
        tuple(Change(ObjectRef.of(obj), "created", obj, None) for obj in objects),
    )


def failure(**errors: BundlerError) -> BundlerError:
    def done(applied: Applied) -> None:
        raise AssertionError(applied)

    with pytest.raises(BundlerError) as caught:
        apply_wave(Failing(errors), wave(*errors), done=done)
    return caught.value


def test_one_error_is_told_as_it_is() -> None:
    error = Refused("ConfigMap/shop/a: no", hint="ask")
    assert failure(a=error) is error


@pytest.mark.parametrize(
    "error",
    [
        ImmutableField("ConfigMap/shop/a: immutable", fields=["data"]),
        FieldConflict("ConfigMap/shop/a: taken", managers={"kubectl": ["data"]}),
    ],
    ids=["immutable", "conflict"],
)
def test_errors_that_say_more_of_one_object_are_told_with_others(error: BundlerError) -> None:
    found = failure(a=error, b=Unreachable("the cluster does not answer"))
    assert type(found) is type(error)
    assert found.message == f"{error.message} (and 1 more)"
    assert [each.rule for each in found.findings] == [error.code, "unreachable"]


def test_all_errors_of_a_wave_are_told_in_one_of_the_kind_that_says_most() -> None:
    error = failure(
        a=Unreachable("the cluster does not answer"),
        b=Refused("ConfigMap/shop/b: no", hint="ask"),
        c=Unreachable("the cluster does not answer"),
    )
    assert type(error) is Refused
    assert (error.message, error.hint) == ("ConfigMap/shop/b: no (and 2 more)", "ask")
    told = [(each.rule, each.message) for each in error.findings]
    assert told == [
        ("refused", "ConfigMap/shop/b: no"),
        ("unreachable", "the cluster does not answer"),
        ("unreachable", "the cluster does not answer"),
    ]


def test_what_did_not_get_ready_goes_before_what_was_refused() -> None:
    assert type(failure(a=Refused("a: no"), b=NotReady("b: still there"))) is NotReady
