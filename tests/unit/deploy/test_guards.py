"""What is refused before anything changes: another cluster, a step back, a tag that may move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bundler.deploy.guards import moving_reference
from bundler.deploy.policy import Policy
from bundler.deploy.preview import preview
from bundler.errors import PermissionRefused, Refused
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Plan
from bundler.model.connection import Identity
from bundler.model.reference import ArtifactReference
from bundler.model.revision import Revision, is_older
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import apply, config_map, namespace, release


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def version(tag: str, day: int = 1, *, protected: bool = False) -> VerifiedBundle:
    objects = [namespace(), config_map("settings", tag=tag)]
    return release(tag, objects, commit_time=f"2026-01-{day:02}T00:00:00Z", protected=protected)


def rules(error: Any) -> list[str]:
    assert isinstance(error, Refused), error
    return [finding.rule for finding in error.findings]


def current(cluster: FakeCluster) -> str:
    return max(cluster.revisions.values(), key=lambda each: each.number).tag


class Shown:
    """Agrees to every plan, and keeps it."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []

    def __call__(self, plan: Plan) -> bool:
        self.plans.append(plan)
        return True


class ExpectedCluster(FakeCluster):
    def identity(self) -> Identity:
        return Identity("cluster", self.uid, is_expected=True)


class ClosedCluster(FakeCluster):
    def identity(self) -> Identity:
        raise PermissionRefused("namespaces kube-system: forbidden")


# --- the cluster --------------------------------------------------------------------------------


@pytest.mark.requirement("B-113")
def test_each_revision_says_which_cluster_it_was_applied_to(cluster: FakeCluster) -> None:
    apply(cluster, version("v1.0.0"))
    assert cluster.revisions[1].cluster == cluster.uid
    assert Revision.of_dict(cluster.revisions[1].as_dict()) == cluster.revisions[1]


@pytest.mark.requirement("B-113")
@pytest.mark.parametrize("tag", ["v1.0.0", "v1.1.0"])
def test_a_state_of_another_cluster_is_refused_naming_both(cluster: FakeCluster, tag: str) -> None:
    apply(cluster, version("v1.0.0"))
    cluster.uid = "restored"
    before = dict(cluster.revisions)
    result = apply(cluster, version(tag))
    assert rules(result.error) == ["other-cluster"]
    assert result.error is not None
    assert "uid-of-kube-system" in result.error.message
    assert "restored" in result.error.message
    assert "--cluster restored" in (result.error.hint or "")
    assert cluster.revisions == before
    assert preview(version(tag), "stage", "default", cluster).error is not None


@pytest.mark.requirement("B-113")
@pytest.mark.parametrize("tag", ["v1.0.0", "v1.1.0"])
def test_who_names_the_new_cluster_goes_on_there(tag: str) -> None:
    cluster = ExpectedCluster()
    apply(cluster, version("v1.0.0"))
    cluster.uid = "restored"
    shown = Shown()
    assert apply(cluster, version(tag), on_plan=shown).error is None
    assert [each.rule for each in shown.plans[0].warnings] == ["other-cluster"]
    assert cluster.revisions[max(cluster.revisions)].cluster == "restored"
    shown = Shown()
    apply(cluster, version("v1.2.0"), on_plan=shown)
    assert shown.plans[0].warnings == (), "what is recorded was applied here by now"


def test_an_account_that_may_not_know_the_cluster_is_told_and_goes_on() -> None:
    cluster = ClosedCluster()
    shown = Shown()
    result = apply(cluster, version("v1.0.0"), on_plan=shown)
    assert result.error is None
    assert [each.rule for each in shown.plans[0].warnings] == ["cluster-unknown"]
    assert cluster.revisions[1].cluster is None


# --- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "day", "than", "its_day", "older"),
    [
        ("v1.0.0", 9, "v1.1.0", 1, True),
        ("v1.10.0", 1, "v1.9.0", 9, False),
        ("v1.1.0-rc.1", 9, "v1.1.0", 1, True),
        ("v1.1.0-rc.2", 1, "v1.1.0-rc.10", 9, True),
        ("v1.1.0+b1", 1, "v1.1.0+b2", 2, True),
        ("nightly-b", 1, "nightly-a", 2, True),
        ("nightly-a", 2, "v9.0.0", 1, False),
        ("v9.0.0", 1, "nightly-a", 2, True),
        ("v1.0.0", 1, "v1.0.0", 1, False),
    ],
)
def test_older_is_a_lower_version_and_then_an_earlier_commit(
    cluster: FakeCluster, tag: str, day: int, than: str, its_day: int, older: bool
) -> None:
    apply(cluster, version(than, its_day))
    assert is_older(tag, f"2026-01-{day:02}T00:00:00Z", cluster.revisions[1]) is older


@pytest.mark.parametrize("policy", [Policy(), Policy(allow_downgrade=False)])
def test_an_older_release_is_refused_where_an_environment_is_protected(
    cluster: FakeCluster, policy: Policy
) -> None:
    apply(cluster, version("v1.1.0", protected=True))
    result = apply(cluster, version("v1.0.0", protected=True), policy=policy)
    assert rules(result.error) == ["downgrade"]
    assert result.error is not None
    assert result.error.exit_code == 4
    assert "v1.1.0" in result.error.message
    assert "v1.0.0" in result.error.message
    assert current(cluster) == "v1.1.0"


def test_who_allows_it_goes_back(cluster: FakeCluster) -> None:
    apply(cluster, version("v1.1.0", protected=True))
    back = Policy(allow_downgrade=True)
    assert apply(cluster, version("v1.0.0", protected=True), policy=back).status == "succeeded"
    assert current(cluster) == "v1.0.0"


def test_a_step_back_is_told_where_nothing_is_protected(cluster: FakeCluster) -> None:
    apply(cluster, version("v1.1.0"))
    shown = Shown()
    result = apply(cluster, version("v1.0.0"), on_plan=shown)
    assert result.status == "succeeded"
    assert [(each.rule, each.severity) for each in shown.plans[0].warnings] == [
        ("downgrade", "warning")
    ]


def test_a_pipeline_may_forbid_steps_back_where_nothing_is_protected(cluster: FakeCluster) -> None:
    apply(cluster, version("v1.1.0"))
    result = apply(cluster, version("v1.0.0"), policy=Policy(allow_downgrade=False))
    assert rules(result.error) == ["downgrade"]


@pytest.mark.parametrize("protected", [True, False])
def test_a_plan_tells_of_a_step_back_and_is_made(cluster: FakeCluster, protected: bool) -> None:
    apply(cluster, version("v1.1.0", protected=protected))
    found = preview(version("v1.0.0", protected=protected), "stage", "default", cluster)
    assert found.error is None
    assert [each["rule"] for each in found.as_dict()["warnings"]] == ["downgrade"]


@pytest.mark.requirement("A-18")
@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize("first", [(), ("v1.0.0",)])
def test_of_two_applies_that_overtake_each_other_the_newer_release_stays(
    cluster: FakeCluster, protected: bool, first: tuple[str, ...]
) -> None:
    for tag in first:
        apply(cluster, version(tag, protected=protected))

    def overtaken(_: Plan) -> bool:
        assert apply(cluster, version("v1.2.0", 3, protected=protected)).status == "succeeded"
        return True

    late = apply(cluster, version("v1.1.0", 2, protected=protected), on_plan=overtaken)
    assert rules(late.error) == ["downgrade"]
    assert late.error is not None
    assert "meanwhile" in late.error.message
    assert current(cluster) == "v1.2.0"


def test_another_content_of_the_current_version_is_told(cluster: FakeCluster) -> None:
    apply(cluster, version("v1.0.0"))
    other = release("v1.0.0", [namespace(), config_map("settings", tag="another")])
    shown = Shown()
    assert apply(cluster, other, on_plan=shown).error is None
    assert [each.rule for each in shown.plans[0].warnings] == ["other-content"]


def test_a_release_that_failed_is_no_step_to_go_back_from(cluster: FakeCluster) -> None:
    apply(cluster, version("v1.0.0", protected=True))
    number = max(cluster.revisions)
    failed = replace(cluster.revisions[number], number=number + 1, tag="v3.0.0", status="failed")
    cluster.revisions[number + 1] = failed
    assert apply(cluster, version("v2.0.0", protected=True)).status == "succeeded"


# --- the version --------------------------------------------------------------------------------

DIGEST = version("v1.0.0").digest


@pytest.mark.requirement("B-114")
@pytest.mark.parametrize("tag", ["latest", "main", "stable"])
@pytest.mark.parametrize(("protected", "severity"), [(True, "error"), (False, "warning")])
def test_a_tag_that_is_no_version_is_shown_with_its_digest(
    tag: str, protected: bool, severity: str
) -> None:
    bundle = version("v1.0.0", protected=protected)
    asked = ArtifactReference(bundle.reference.repository, tag)
    found = moving_reference(asked, bundle, "stage")
    assert found is not None
    assert found.severity == severity
    assert str(bundle.digest) in found.message


@pytest.mark.requirement("B-114")
@pytest.mark.parametrize(
    ("tag", "digest"), [("v1.0.0", None), ("latest", DIGEST), (None, DIGEST), (None, None)]
)
def test_a_version_or_a_digest_does_not_move(tag: str | None, digest: Any) -> None:
    bundle = version("v1.0.0", protected=True)
    asked = ArtifactReference(bundle.reference.repository, tag, digest)
    assert moving_reference(asked, bundle, "stage") is None


def test_a_release_that_is_named_latest_is_no_version() -> None:
    bundle = version("latest", protected=True)
    asked = ArtifactReference(bundle.reference.repository, "latest")
    assert moving_reference(asked, bundle, "stage") is not None
