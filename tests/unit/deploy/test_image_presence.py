"""Images and pull secrets are asked for before anything changes, and only where something does."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.deploy.image_presence import ImageCheck, pull_secrets
from bundler.deploy.preview import preview
from bundler.errors import AccessRefused, BundlerError, CouldNotCheck, ImagesRefused, Unreachable
from bundler.model.changeset import Change, Plan, Wave
from bundler.model.objects import ObjectRef
from bundler.model.reference import Digest, Repository
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import apply, deployment, made, namespace, release, secret

HERE, GONE = str(Digest.of(b"here")), str(Digest.of(b"gone"))
CART = f"registry.example.com/shop/cart:1@{HERE}"


class Registries:
    """Has what ends in `here`; hosts in `silent` raise."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent: dict[str, BundlerError] = {}

    def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
        self.asked.append(f"{repository}@{reference}")
        if error := self.silent.get(repository.host):
            raise error
        return Digest.of(b"here") if str(reference) in (HERE, "1") else None


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def registries() -> Registries:
    return Registries()


def shop(*images: str, tag: str = "v1.0.0", **spec: Any) -> Any:
    workloads = [deployment(f"app-{n}", image) for n, image in enumerate(images)]
    for each in workloads:
        each["spec"]["template"]["spec"] |= spec
    return release(tag, [namespace(), *workloads])


@pytest.mark.requirement("B-104")
def test_each_image_is_asked_for_by_its_digest(
    cluster: FakeCluster, registries: Registries
) -> None:
    check = ImageCheck(registries)
    assert apply(cluster, shop(CART, f"redis@{HERE}", CART), images=check).status == "succeeded"
    assert sorted(registries.asked) == [
        f"oci://docker.io/library/redis@{HERE}",
        f"oci://registry.example.com/shop/cart@{HERE}",
    ]


@pytest.mark.requirement("B-104")
def test_all_missing_images_are_told_and_nothing_is_changed(
    cluster: FakeCluster, registries: Registries
) -> None:
    missing = [f"registry.example.com/shop/{name}@{GONE}" for name in ("cart", "search")]
    result = apply(cluster, shop(CART, *missing), images=ImageCheck(registries))
    assert isinstance(result.error, ImagesRefused)
    assert result.error.exit_code == 4
    found = {finding.message.partition(": ")[0]: finding for finding in result.error.findings}
    assert sorted(found) == missing
    assert {finding.object for finding in found.values()} == {
        "Deployment/shop/app-1", "Deployment/shop/app-2",
    }  # fmt: skip
    assert not cluster.objects
    assert not cluster.revisions


@pytest.mark.requirement("B-104")
@pytest.mark.parametrize("error", [Unreachable("no connection"), AccessRefused("401")])
def test_a_registry_without_an_answer_is_told_with_the_way_around_it(
    cluster: FakeCluster, registries: Registries, error: BundlerError
) -> None:
    registries.silent["registry.example.com"] = error
    result = apply(cluster, shop(CART, f"redis@{HERE}"), images=ImageCheck(registries))
    assert isinstance(result.error, CouldNotCheck)
    assert result.error.exit_code == 6
    assert "--no-image-check" in (result.error.hint or "")
    assert [finding.rule for finding in result.error.findings] == [error.code]
    assert not cluster.objects


def test_what_is_missing_goes_before_what_is_not_known(
    cluster: FakeCluster, registries: Registries
) -> None:
    registries.silent["registry.example.com"] = Unreachable("no connection")
    result = apply(cluster, shop(CART, f"redis@{GONE}"), images=ImageCheck(registries))
    assert isinstance(result.error, ImagesRefused)
    assert {finding.rule for finding in result.error.findings} == {
        "image-not-there", "unreachable",
    }  # fmt: skip


def test_what_stands_there_already_is_not_asked_for(
    cluster: FakeCluster, registries: Registries
) -> None:
    apply(cluster, shop(CART))
    other = f"registry.example.com/shop/search@{HERE}"
    assert apply(cluster, shop(CART), images=ImageCheck(registries)).status == "unchanged"
    assert registries.asked == []
    apply(cluster, shop(CART, other, tag="v1.1.0"), images=ImageCheck(registries))
    assert registries.asked == [f"oci://registry.example.com/shop/search@{HERE}"]


def test_an_image_of_several_targets_is_asked_for_once(registries: Registries) -> None:
    check = ImageCheck(registries)
    for cluster in (FakeCluster(), FakeCluster()):
        assert apply(cluster, shop(CART), images=check).error is None
    assert len(registries.asked) == 1


# --- pull secrets -------------------------------------------------------------------------------

PULLS: dict[str, Any] = {"imagePullSecrets": [{"name": "pull"}]}


@pytest.mark.requirement("B-104")
def test_a_pull_secret_that_is_nowhere_is_refused(cluster: FakeCluster) -> None:
    result = apply(cluster, shop(CART, **PULLS))
    assert result.error is not None
    assert result.error.exit_code == 4
    [finding] = result.error.findings
    assert (finding.rule, finding.object) == ("missing-pull-secret", "Deployment/shop/app-0")
    assert "Secret/shop/pull" in finding.message
    assert not cluster.objects


def test_a_plan_refuses_the_same(cluster: FakeCluster) -> None:
    found = preview(shop(CART, **PULLS), "stage", "default", cluster)
    assert found.error is not None
    assert [each.rule for each in found.error.findings] == ["missing-pull-secret"]


@pytest.mark.requirement("B-104")
def test_a_pull_secret_of_the_pods_account_counts_too(cluster: FakeCluster) -> None:
    bundle = shop(CART, serviceAccountName="runner")
    account = made("v1", "ServiceAccount", "runner", **PULLS)
    [objects] = bundle.objects.values()
    bundle.objects["stage", "default"] = (*objects, account)
    result = apply(cluster, bundle)
    assert result.error is not None
    assert [each.object for each in result.error.findings] == ["ServiceAccount/shop/runner"]


def brought_by(kind: str) -> Any:
    sealed = made("bitnami.com/v1alpha1", "SealedSecret", "sealed", spec={"name": "pull"})
    return {"Secret": secret("pull", value="e30="), "SealedSecret": sealed}[kind]


@pytest.mark.parametrize("kind", ["Secret", "SealedSecret"])
def test_a_pull_secret_that_comes_with_the_release_need_not_be_there(
    cluster: FakeCluster, kind: str
) -> None:
    [objects] = shop(CART, **PULLS).objects.values()
    changes = tuple(
        Change(ObjectRef.of(each), "created", each) for each in (*objects, brought_by(kind))
    )
    assert pull_secrets(Plan("stage", "default", (Wave("all", changes),)), cluster) == ()


def test_a_pull_secret_that_is_there_is_enough(cluster: FakeCluster) -> None:
    apply(cluster, release("v0.9.0", [namespace()]))
    cluster.apply(secret("pull", value="e30="))
    assert apply(cluster, shop(CART, **PULLS)).error is None
