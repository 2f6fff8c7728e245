"""What every target of a deploy promises: a cluster in memory, a folder, one of a git repository,
and a real cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.cluster.connection import connect
from bundler.adapters.cluster.kubernetes_cluster import KubernetesCluster
from bundler.adapters.directory_target import DirectoryTarget
from bundler.adapters.git.branch_folder import BranchFolder
from bundler.adapters.git_target import WANTED, GitTarget
from bundler.deploy.field_drift import suspects
from bundler.deploy.fields import is_same_outcome, is_unchanged
from bundler.deploy.flow import apply_to_target
from bundler.deploy.result import TargetResult
from bundler.errors import Locked, NotFound, Refused
from bundler.model.bundle import VerifiedBundle
from bundler.model.inventory import Inventory
from bundler.model.objects import ObjectRef
from bundler.model.revision import Revision, Who
from bundler.ports import DeployTarget, Need
from tests.fakes import releases
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import Object, release, runner
from tests.git_history import NewCommit, git, make_history
from tools.control_plane import ControlPlane

IMAGE = "registry.example.com/shop/cart:1"


@dataclass(frozen=True)
class Place:
    """Somewhere to deploy to; each call of `open` is another runner."""

    open: Callable[[], DeployTarget]
    namespace: str
    clock: Callable[[], str]
    monotonic: Callable[[], float]
    finish: Callable[[DeployTarget], None] = lambda _: None
    """Let other runners see what this one has written, as the end of its apply does."""
    notes_checks: bool = True
    """Whether it remembers when a release was found to be in place."""

    def made(self, api_version: str, kind: str, name: str, **rest: Any) -> Object:
        return releases.made(api_version, kind, name, namespace=self.namespace, **rest)

    def config_map(self, name: str, **content: str) -> Object:
        return self.made("v1", "ConfigMap", name, data=content)

    def deployment(self, name: str, image: str = IMAGE, **spec: Any) -> Object:
        made = releases.deployment(name, image, **spec)
        return self.made("apps/v1", "Deployment", name, spec=made["spec"])

    def job(self, name: str, image: str = IMAGE) -> Object:
        made = releases.job(name, image)["spec"]
        made["template"]["spec"]["restartPolicy"] = "Never"
        return self.made("batch/v1", "Job", name, spec=made)

    def apply(self, bundle: VerifiedBundle) -> TargetResult:
        by = runner(self.clock, self.monotonic)
        return apply_to_target(bundle, "stage", "default", self.open(), by)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def fake(_: pytest.FixtureRequest) -> Iterator[Place]:
    cluster = FakeCluster()
    cluster.prepare()
    yield Place(lambda: cluster, "shop", cluster.clock, cluster.monotonic)


def directory(request: pytest.FixtureRequest) -> Iterator[Place]:
    folder: Path = request.getfixturevalue("tmp_path") / "target"

    def open_() -> DeployTarget:
        return DirectoryTarget(folder, project="shop", environment="stage", target="default")

    yield Place(open_, "shop", now, time.monotonic)


def git_folder(request: pytest.FixtureRequest) -> Iterator[Place]:
    repository: Path = request.getfixturevalue("tmp_path") / "deployments"
    make_history(repository / "work", [NewCommit({"README.md": "deployments"})])
    git(repository, "clone", "--quiet", "--bare", "work", "bare")
    places: dict[DeployTarget, BranchFolder] = {}
    with ExitStack() as opened:

        def open_() -> DeployTarget:
            place = BranchFolder(str(repository / "bare"), "main", "clusters/eu", WANTED)
            opened.enter_context(place)
            target = GitTarget(place, project="shop", environment="stage", target="default")
            places[target] = place
            return target

        def finish(target: DeployTarget) -> None:
            places[target].write("what was written")

        yield Place(open_, "shop", now, time.monotonic, finish, notes_checks=False)


def cluster(request: pytest.FixtureRequest) -> Iterator[Place]:
    control_plane: ControlPlane = request.getfixturevalue("control_plane")
    namespace: str = request.getfixturevalue("namespace")
    with connect(kubeconfig=control_plane.kubeconfig) as connection:

        def open_() -> DeployTarget:
            return KubernetesCluster(
                connection,
                project="shop",
                environment="stage",
                target="default",
                namespace=namespace,
            )

        yield Place(open_, namespace, now, time.monotonic)


@pytest.fixture(params=[fake, directory, git_folder, cluster], ids=lambda make: make.__name__)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield from request.param(request)


@pytest.fixture(params=[fake, cluster], ids=lambda make: make.__name__)
def server(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Those that own fields, know kinds and run pods."""
    yield from request.param(request)


@pytest.fixture(params=[fake, directory, cluster], ids=lambda make: make.__name__)
def locked(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Those that keep others out; a git repository tells the slower one (test_git_target.py)."""
    yield from request.param(request)


@pytest.fixture
def real(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield from cluster(request)


def live(target: DeployTarget, obj: Object) -> Any:
    return target.live({ObjectRef.of(obj): obj["apiVersion"]}).get(ObjectRef.of(obj))


def revision(number: int, **values: Any) -> Revision:
    return Revision(
        number=number,
        project="shop",
        environment="stage",
        target="default",
        tag="v1.0.0",
        version="v1.0.0",
        commit="c" * 40,
        commit_time="2026-01-01T00:00:00Z",
        digest=f"sha256:{'0' * 64}",
        reference="oci://registry.example.com/deploy/shop:v1.0.0",
        **{"status": "pending", "started": "2026-01-01T00:00:00Z", **values},
    )


# --- objects ------------------------------------------------------------------------------------


def test_what_was_applied_is_read_again(place: Place) -> None:
    target, settings = place.open(), place.config_map("settings", colour="red")
    assert live(target, settings) is None
    made = target.apply(settings)
    assert made["metadata"]["uid"]
    assert live(target, settings)["data"] == {"colour": "red"}
    assert live(target, settings)["metadata"]["uid"] == made["metadata"]["uid"]
    assert target.live({ObjectRef.of(settings): ""}).keys() == {ObjectRef.of(settings)}


def test_a_dry_run_answers_and_changes_nothing(place: Place) -> None:
    target = place.open()
    assert target.apply(place.config_map("settings", colour="red"), dry_run=True)["data"]
    assert live(target, place.config_map("settings")) is None
    target.apply(place.config_map("settings", colour="red"))
    changed = target.apply(place.config_map("settings", colour="blue"), dry_run=True)
    assert changed["data"] == {"colour": "blue"}
    assert live(target, place.config_map("settings"))["data"] == {"colour": "red"}


def test_what_is_no_longer_applied_goes_and_the_object_stays_the_same(place: Place) -> None:
    target = place.open()
    first = target.apply(place.config_map("settings", colour="red", size="9"))
    second = target.apply(place.config_map("settings", colour="red"))
    assert live(target, place.config_map("settings"))["data"] == {"colour": "red"}
    assert first["metadata"]["uid"] == second["metadata"]["uid"]


def test_an_object_is_deleted_by_its_uid_only(place: Place) -> None:
    target, settings = place.open(), place.config_map("settings")
    uid = target.apply(settings)["metadata"]["uid"]
    with pytest.raises(Refused):
        target.delete(ObjectRef.of(settings), "another")
    assert live(target, settings)
    target.delete(ObjectRef.of(settings), uid)
    assert live(target, settings) is None
    target.delete(ObjectRef.of(settings), uid)


def test_a_kind_that_the_target_does_not_know_has_no_objects(place: Place) -> None:
    sound = place.made("unknown.example.com/v1", "Sound", "loud", spec={})
    assert live(place.open(), sound) is None


def test_a_kind_or_namespace_that_is_not_there_is_not_found(server: Place) -> None:
    target = server.open()
    elsewhere = releases.made("v1", "ConfigMap", "a", namespace="not-there")
    unknown = server.made("unknown.example.com/v1", "Sound", "loud", spec={})
    for obj in (elsewhere, unknown):
        with pytest.raises(NotFound):
            target.apply(obj, dry_run=True)


def test_a_job_s_template_is_told_to_be_immutable(server: Place) -> None:
    target = server.open()
    target.apply(server.job("migrate"))
    with pytest.raises(Refused, match="immutable"):
        target.apply(server.job("migrate", f"{IMAGE}2"), dry_run=True)


def test_all_permissions_of_a_full_account_are_there(place: Place) -> None:
    needs = [Need("patch", "apps", "Deployment", place.namespace), Need("get", "x.io", "X", "")]
    assert place.open().missing(needs) == ()


CONTAINER: Object = {
    "name": "main",
    "image": IMAGE,
    "args": ["--fast"],
    "ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP", "name": "dns"}],
    "env": [{"name": "B", "value": "1"}, {"name": "A", "value": "2"}],
    "envFrom": [{"configMapRef": {"name": "settings"}}],
    "resources": {"requests": {"cpu": 0.5, "memory": "1024Mi"}, "limits": {"memory": "2048Mi"}},
    "readinessProbe": {"httpGet": {"path": "/", "port": 53}},
    "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
    "securityContext": {"capabilities": {"drop": ["ALL"]}},
}


def varied(place: Place) -> list[Object]:
    """Objects with lists, sets, defaults and quantities, as people write them."""
    pod = {
        "containers": [CONTAINER],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "tolerations": [{"operator": "Exists"}],
    }
    template = {"metadata": {"labels": {"app": "cart"}}, "spec": pod}
    selector = {"matchLabels": {"app": "cart"}}
    ports = [
        {"port": 80, "name": "web", "targetPort": "dns"},
        {"port": 81, "name": "more", "protocol": "UDP"},
    ]
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    subject = {"kind": "ServiceAccount", "name": "cart", "namespace": place.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "cart"}
    cron = {"template": {"spec": {"restartPolicy": "Never", **pod}}}
    return [
        place.config_map("settings", colour="red"),
        place.made("v1", "Secret", "token", data={"value": "aGVsbG8="}, type="Opaque"),
        place.made("v1", "Service", "cart", spec={"selector": {"app": "cart"}, "ports": ports}),
        place.made("v1", "ServiceAccount", "cart", automountServiceAccountToken=False),
        place.made(
            "apps/v1", "Deployment", "cart", spec={"selector": selector, "template": template}
        ),
        place.made(
            "apps/v1",
            "StatefulSet",
            "db",
            spec={"serviceName": "db", "selector": selector, "template": template},
        ),
        place.made(
            "batch/v1",
            "CronJob",
            "nightly",
            spec={"schedule": "0 0 * * *", "jobTemplate": {"spec": cron}},
        ),
        place.made("rbac.authorization.k8s.io/v1", "Role", "cart", rules=[rule]),
        place.made(
            "rbac.authorization.k8s.io/v1", "RoleBinding", "cart", subjects=[subject], roleRef=role
        ),
        place.made(
            "policy/v1",
            "PodDisruptionBudget",
            "cart",
            spec={"minAvailable": "50%", "selector": selector},
        ),
    ]


def test_an_object_that_stands_there_as_it_is_wanted_is_known_without_a_request(
    real: Place,
) -> None:
    target = real.open()
    for obj in varied(real):
        target.apply(obj)
        assert is_unchanged(obj, live(target, obj)), obj["kind"]


def test_what_is_not_known_locally_a_dry_run_tells(real: Place) -> None:
    target, spec = real.open(), releases.stateful_set("db")["spec"]
    storage = {"resources": {"requests": {"storage": "1024Mi"}}}
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], **storage}}
    spec = {**spec, "serviceName": "db", "volumeClaimTemplates": [claim]}
    db = real.made("apps/v1", "StatefulSet", "db", spec=spec)
    target.apply(db)
    assert not is_unchanged(db, live(target, db)), "the server adds to a claim's template"
    assert suspects(db, live(target, db)) == ()
    assert is_same_outcome(target.apply(db, dry_run=True), live(target, db))


def test_what_a_server_drops_adds_and_rewrites_is_not_suspect(real: Place) -> None:
    target = real.open()
    cart = real.deployment("cart", replicas=0)
    pod = cart["spec"]["template"]["spec"]
    cart["spec"]["template"]["metadata"] |= {"creationTimestamp": None, "annotations": {}}
    pod |= {
        "hostNetwork": False,
        "automountServiceAccountToken": False,
        "imagePullSecrets": [],
        "securityContext": {},
        "tolerations": [{"operator": "Exists", "tolerationSeconds": None}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
    pod["containers"][0] |= {"env": [{"name": "A", "value": ""}], "args": []}
    texts = {"data": {"one": "MQ=="}, "stringData": {"two": "2"}}
    for obj in (cart, real.made("v1", "Secret", "token", **texts)):
        target.apply(obj)
        assert suspects(obj, live(target, obj)) == (), obj["kind"]


# --- state and lock -----------------------------------------------------------------------------


def test_a_target_starts_without_state(place: Place) -> None:
    state = place.open().read()
    assert (dict(state.inventory.objects), state.revisions) == ({}, ())


def test_the_inventory_is_read_as_it_was_written(place: Place) -> None:
    job = ObjectRef.of(place.job("migrate"))
    inventory = Inventory(
        {ObjectRef.of(place.config_map(f"c{n}")): f"uid-{n}" for n in range(50)} | {job: ""},
        {job: "sha256:abc"},
    )
    target = place.open()
    target.prepare()
    target.write_inventory(inventory)
    place.finish(target)
    assert place.open().read().inventory == inventory
    target.write_inventory(Inventory())
    place.finish(target)
    assert place.open().read().inventory == Inventory()


def test_revisions_are_read_in_their_order_and_replaced_by_number(place: Place) -> None:
    target = place.open()
    target.prepare()
    who = Who("admin", "somebody", "https://ci.example.com/7")
    done = revision(
        2, status="succeeded", outcome="ready", finished="2026-01-01T00:01:00Z",
        duration_seconds=60.5, changes={"created": 3}, who=who,
    )  # fmt: skip
    for each in (revision(1), revision(2), revision(10), done):
        target.write_revision(each)
    place.finish(target)
    assert place.open().read().revisions == (revision(1), done, revision(10))
    target.drop_revision(1)
    target.drop_revision(1)
    place.finish(target)
    assert [each.number for each in place.open().read().revisions] == [2, 10]
    target.write_inventory(Inventory({ObjectRef("", "ConfigMap", "a", "b"): ""}))
    target.drop_inventory()
    target.drop_inventory()
    assert place.open().read().inventory == Inventory()


def test_one_runner_holds_the_lock_and_the_other_is_told_who(locked: Place) -> None:
    one, other = locked.open(), locked.open()
    one.prepare()
    with one.held("runner-1"), pytest.raises(Locked, match="runner-1"), other.held("runner-2"):
        pass
    with other.held("runner-2"):
        pass


def test_whoever_holds_the_lock_is_named(locked: Place) -> None:
    one, other = locked.open(), locked.open()
    assert other.locked_by() is None
    one.prepare()
    with one.held("runner-1"):
        holder = other.locked_by()
        assert holder is not None
        assert (holder.name, holder.since[:2]) == ("runner-1", "20")
    assert other.locked_by() is None


def test_the_lock_is_free_after_an_error(place: Place) -> None:
    target = place.open()
    target.prepare()
    with pytest.raises(KeyboardInterrupt), target.held("runner-1"):
        raise KeyboardInterrupt
    with target.held("runner-1"):
        pass


# --- the flow -----------------------------------------------------------------------------------


def first(place: Place) -> VerifiedBundle:
    objects = [
        place.config_map("settings", colour="red"),
        place.job("migrate"),
        place.deployment("cart"),
        place.deployment("old-search"),
    ]
    return release("v1.0.0", objects, namespace=place.namespace)


def second(place: Place) -> VerifiedBundle:
    objects = [
        place.config_map("settings", colour="blue"),
        place.config_map("features"),
        place.job("migrate", f"{IMAGE}2"),
        place.deployment("cart", f"{IMAGE}2"),
    ]
    return release("v1.1.0", objects, namespace=place.namespace)


def stands(place: Place) -> dict[ObjectRef, Any]:
    """What stands there of both releases, by what they say of it."""
    wanted = {
        ObjectRef.of(obj): str(obj["apiVersion"])
        for bundle in (first(place), second(place))
        for obj in bundle.objects["stage", "default"]
    }
    found = place.open().live(wanted)
    return {ref: _said(obj) for ref, obj in sorted(found.items())}


def _said(obj: Any) -> Any:
    spec = obj.get("spec") or {}
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or ()
    return obj.get("data"), [container["image"] for container in containers]


def test_forth_and_back_ends_in_the_first_state(place: Place) -> None:
    results = [place.apply(first(place))]
    state = stands(place)
    results.append(place.apply(second(place)))
    assert stands(place) != state
    results.append(place.apply(first(place)))
    assert stands(place) == state
    assert [(result.status, result.error) for result in results] == [("succeeded", None)] * 3
    assert dict(results[1].changes.counts()) == {
        "created": 1, "configured": 3, "unchanged": 0, "deleted": 1, "skipped": 0,
    }  # fmt: skip
    recorded = place.open().read()
    assert [each.tag for each in recorded.revisions] == ["v1.0.0", "v1.1.0", "v1.0.0"]
    assert set(recorded.inventory.objects) == set(state)
    assert all(recorded.inventory.objects.values())


def test_the_same_release_again_changes_nothing(place: Place) -> None:
    place.apply(first(place))
    result = place.apply(first(place))
    assert (result.status, result.revision, result.error) == ("unchanged", 1, None)
    assert result.changes.counts()["unchanged"] == 4
    assert bool(place.open().read().revisions[0].last_checked) == place.notes_checks


def test_an_image_that_cannot_be_pulled_is_told_with_its_pod(server: Place) -> None:
    place = server
    assert place.apply(first(place)).error is None
    broken = place.deployment("cart", "registry.example.com/broken:1", progressDeadlineSeconds=5)
    result = place.apply(release("v1.1.0", [broken], namespace=place.namespace))
    assert result.error is not None
    assert result.error.exit_code == 5
    assert "Pod/" in result.error.message
    assert "ImagePull" in result.error.message
    state = place.open().read()
    assert state.current is not None and state.current.tag == "v1.0.0"
    assert state.latest is not None and state.latest.status == "failed"
