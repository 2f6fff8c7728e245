"""Helm's hooks become waves, or are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.model.objects import WAVE, WEIGHT, Step
from bundler.publish.hooks import hooked
from tests.fakes.shop import deployment, obj

JOB = ("batch/v1", "Job")
POD = ("v1", "Pod")
ACCOUNT = ("v1", "ServiceAccount")
OTHER = ("example.com/v1", "Database")


def hook(kind: tuple[str, str], hooks: str, weight: str | None = None) -> dict[str, Any]:
    weights = {"helm.sh/hook-weight": weight} if weight is not None else {}
    return obj(*kind, "a", metadata={"annotations": {"helm.sh/hook": hooks, **weights}})


def step(kind: tuple[str, str], hooks: str, weight: str | None = None) -> tuple[str, int]:
    (kept,), findings = hooked("prod/eu", [hook(kind, hooks, weight)])
    assert findings == []
    found = Step.of(kept)
    return found.name, found.weight


@pytest.mark.requirement("B-108")
@pytest.mark.parametrize(
    ("kind", "hooks", "wave"),
    [
        (JOB, "pre-install", "jobs"),
        (JOB, "pre-upgrade, pre-install", "jobs"),
        (JOB, "post-install,post-upgrade", "afterwards"),
        (JOB, "post-install,test", "afterwards"),
        (JOB, "pre-install,pre-rollback", "jobs"),
        (POD, "pre-install", "jobs"),
        (POD, "post-upgrade", "afterwards"),
        (OTHER, "pre-install", "jobs"),
        (ACCOUNT, "pre-install", "configuration"),
        (ACCOUNT, "post-install", "configuration"),
        (("apiextensions.k8s.io/v1", "CustomResourceDefinition"), "crd-install", "namespaces"),
        (OTHER, "crd-install", "namespaces"),
    ],
)
def test_a_hook_has_the_wave_of_its_time(kind: tuple[str, str], hooks: str, wave: str) -> None:
    assert step(kind, hooks) == (wave, 0)


@pytest.mark.parametrize(
    ("kind", "hooks", "weight", "expected"),
    [
        (JOB, "pre-install", "-5", -5),
        (JOB, "post-install", "+7", 7),
        (JOB, "pre-install", "0", 0),
        (JOB, "pre-install", "heavy", 0),
        (ACCOUNT, "pre-install", "3", 0),
    ],
)
def test_weights_order_what_is_waited_for(
    kind: tuple[str, str], hooks: str, weight: str, expected: int
) -> None:
    assert step(kind, hooks, weight)[1] == expected


def test_what_is_no_hook_stays_as_it_is() -> None:
    documents: list[Any] = [
        deployment("a", "b"), "text", None, {"metadata": None}, {"metadata": {"annotations": []}},
        hook(JOB, ""),
    ]  # fmt: skip
    kept, findings = hooked("prod/eu", documents)
    assert kept == documents
    assert findings == []


def test_annotations_of_a_hook_stay_and_ours_are_added() -> None:
    (kept,), _ = hooked("prod/eu", [hook(JOB, "post-install", "2")])
    assert kept["metadata"]["annotations"] == {
        "helm.sh/hook": "post-install", "helm.sh/hook-weight": "2", WAVE: "afterwards", WEIGHT: "2",
    }  # fmt: skip


@pytest.mark.parametrize("hooks", ["test", "test-success", "test-failure"])
def test_tests_are_left_out(hooks: str) -> None:
    assert hooked("prod/eu", [hook(POD, hooks)]) == ([], [])


@pytest.mark.requirement("B-108")
@pytest.mark.parametrize(
    "hooks",
    ["pre-delete", "post-delete", "pre-rollback", "post-rollback", "post-delete,pre-delete"],
)
def test_a_hook_that_would_never_run_is_refused_by_name(hooks: str) -> None:
    kept, (finding,) = hooked("prod/eu", [hook(JOB, hooks)], "charts/shop")
    assert kept == []
    assert (finding.rule, finding.severity) == ("helm-hook", "error")
    assert (finding.object, finding.environment, finding.file) == (
        "Job/a",
        "prod/eu",
        "charts/shop",
    )
    assert hooks.rpartition(",")[2] in finding.message
    assert "would never run" in finding.message


def test_a_hook_that_helm_does_not_know_is_refused() -> None:
    kept, (finding,) = hooked("prod/eu", [hook(JOB, "before-install")])
    assert kept == []
    assert "before-install is no hook of helm" in finding.message


def test_a_hook_that_comes_before_and_after_comes_before_and_is_told() -> None:
    (kept,), (finding,) = hooked("prod/eu", [hook(JOB, "post-install,pre-upgrade")])
    assert Step.of(kept).name == "jobs"
    assert (finding.rule, finding.severity) == ("helm-hook-order", "warning")
    assert hooked("prod/eu", [hook(ACCOUNT, "post-install,pre-upgrade")])[1] == []
