"""A release that fails, and what becomes of the one before: left, restored, or barred."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.deploy.events import Event
from bundler.deploy.policy import Policy
from bundler.deploy.result import TargetResult
from bundler.errors import (
    KeyNeeded,
    Locked,
    MigrationBarrier,
    NotReady,
    PermissionRefused,
    Refused,
    Unreachable,
)
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Plan
from bundler.model.objects import ObjectRef, images_in
from bundler.model.revision import KEPT_REVISIONS, Revision
from bundler.ports import DeployTarget
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import (
    OWNED_BY,
    Published,
    apply,
    config_map,
    deployment,
    job,
    namespace,
    release,
)

ROLLBACK = Policy(on_failure="rollback")
GOOD = release(
    "v1.0.0",
    [namespace(), config_map("settings", colour="red"), config_map("old"), deployment("cart")],
)
BAD = release(
    "v1.1.0",
    [
        namespace(),
        config_map("settings", colour="blue"),
        config_map("only-here"),
        deployment("cart", image="shop/broken:2"),
    ],
)
NEXT = release("v1.2.0", [namespace(), deployment("cart", image="shop/cart:3")])
PUBLISHED = Published(GOOD, BAD, NEXT)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def restoring(cluster: FakeCluster, bundle: Any, **changed: Any) -> TargetResult:
    return apply(cluster, bundle, **({"policy": ROLLBACK, "former": PUBLISHED} | changed))


def statuses(cluster: FakeCluster) -> list[tuple[str, str]]:
    return [(each.tag, each.status) for each in cluster.revisions.values()]


@pytest.mark.requirement("A-15", "C-45")
def test_a_release_that_fails_is_taken_back_and_the_former_one_is_there_as_it_was(
    cluster: FakeCluster,
) -> None:
    apply(cluster, GOOD)
    before = cluster.owned(OWNED_BY)
    result = restoring(cluster, BAD)
    assert cluster.owned(OWNED_BY) == before
    assert set(cluster.inventory.objects) == set(before) - {ObjectRef("", "Namespace", "", "shop")}
    assert statuses(cluster) == [
        ("v1.0.0", "succeeded"), ("v1.1.0", "rolled-back"), ("v1.0.0", "succeeded"),
    ]  # fmt: skip
    assert (result.status, result.revision) == ("rolled-back", 2)
    assert isinstance(result.error, NotReady)
    assert "ImagePullBackOff" in result.error.message
    assert result.error.message.endswith("v1.0.0 is restored")
    assert result.rollback and result.rollback.is_restored and result.rollback.result
    assert result.rollback.result.revision == 3
    assert "ImagePullBackOff" in cluster.revisions[2].outcome
    assert cluster.holder is None


@pytest.mark.requirement("C-44")
def test_what_was_gone_back_to_and_from_is_in_the_history(cluster: FakeCluster) -> None:
    apply(cluster, GOOD)
    restoring(cluster, BAD)
    back = cluster.revisions[3]
    assert (back.kind, back.title) == ("rollback", "rolled back to v1.0.0 from v1.1.0")
    assert back.outcome == "ready"
    assert back.planned["configured"] == back.changes["configured"] == 2
    assert back.planned["deleted"] == back.changes["deleted"] == 1
    current = cluster.read().current
    assert current and current.number == 3


@pytest.mark.requirement("A-15", "A-14")
def test_a_release_that_is_halted_is_left_for_inspection(cluster: FakeCluster) -> None:
    apply(cluster, GOOD)
    result = restoring(cluster, BAD, policy=Policy())
    assert result.rollback is None
    assert ObjectRef("", "ConfigMap", "shop", "only-here") in cluster.objects
    assert statuses(cluster) == [("v1.0.0", "succeeded"), ("v1.1.0", "failed")]
    current = cluster.read().current
    assert current and current.tag == "v1.0.0"


@pytest.mark.requirement("A-13")
def test_done_failed_and_not_started_are_told_apart(cluster: FakeCluster) -> None:
    apply(cluster, GOOD)
    objects = [
        config_map("settings", colour="blue"), job("migrate", image="shop/crashing:2"),
        deployment("cart", image="shop/cart:2"),
    ]  # fmt: skip
    value = apply(cluster, release("v1.1.0", objects)).as_dict()
    assert value["failed"] == ["Job/shop/migrate"]
    assert {"ref": "ConfigMap/shop/settings", "action": "configured"} in value["objects"]
    assert value["notStarted"] == ["Deployment/shop/cart", "ConfigMap/shop/old"]


def test_what_is_refused_while_it_is_written_failed_and_was_not_left_out(
    cluster: FakeCluster,
) -> None:
    apply(cluster, GOOD)

    def refuse(method: str, subject: str) -> None:
        if method == "apply" and subject.startswith("Deployment"):
            raise Refused(f"{subject}: denied by policy")

    cluster.on_call = refuse
    value = apply(cluster, BAD).as_dict()
    assert value["failed"] == ["Deployment/shop/cart"]
    assert value["notStarted"] == ["ConfigMap/shop/old"]


def test_a_first_installation_that_fails_has_nothing_to_go_back_to(cluster: FakeCluster) -> None:
    result = restoring(cluster, BAD)
    assert (result.status, statuses(cluster)) == ("failed", [("v1.1.0", "failed")])
    assert result.error and result.error.exit_code == 5
    assert result.error.message.endswith("there is no way back: no release has succeeded here yet")
    assert "no release has succeeded here yet" in cluster.revisions[1].outcome


def test_the_current_release_again_is_nothing_to_go_back_from(cluster: FakeCluster) -> None:
    apply(cluster, GOOD)
    cart = ObjectRef("apps", "Deployment", "shop", "cart")
    cluster.objects[cart]["metadata"]["labels"]["x"] = "y"
    del cluster.objects[ObjectRef("", "ConfigMap", "shop", "settings")]
    cluster.objects[cart]["spec"]["template"]["spec"]["containers"][0]["image"] = "shop/unready:1"

    def vanish(method: str, _: str) -> None:
        if method == "watch":
            raise Unreachable("the cluster does not answer")

    cluster.on_call = vanish
    result = restoring(cluster, GOOD)
    assert result.error and "it is the same release" in result.error.message


@pytest.mark.parametrize("policy", [ROLLBACK, Policy()], ids=["rollback", "halt"])
def test_the_former_release_is_asked_for_before_the_first_change(
    cluster: FakeCluster, policy: Policy
) -> None:
    apply(cluster, GOOD)
    cluster.calls.clear()
    shown: list[Plan] = []

    def show(plan: Plan) -> bool:
        shown.append(plan)
        return True

    result = restoring(cluster, NEXT, policy=policy, former=Published(), on_plan=show)
    if policy.on_failure == "rollback":
        assert isinstance(result.error, Refused)
        assert "v1.0.0, to go back to where this release fails" in result.error.message
        assert not shown
        assert not cluster.sent("apply") and len(cluster.revisions) == 1
    else:
        assert result.error is None
        assert [each.rule for each in shown[0].warnings] == ["former-release"]


def test_a_registry_that_does_not_answer_is_told_as_such(cluster: FakeCluster) -> None:
    apply(cluster, GOOD)

    class Away(Published):
        def pull(self, revision: Revision) -> VerifiedBundle:
            raise Unreachable(f"{revision.reference}: the registry does not answer")

    result = restoring(cluster, NEXT, former=Away())
    assert isinstance(result.error, Unreachable)
    assert result.error.exit_code == 6


def test_secrets_of_the_former_release_are_decrypted_before_the_first_change(
    cluster: FakeCluster,
) -> None:
    apply(cluster, GOOD)
    cluster.calls.clear()

    class Sealed(Published):
        def decrypted(
            self, bundle: VerifiedBundle, revision: Revision, to: DeployTarget
        ) -> VerifiedBundle:
            raise KeyNeeded(f"{bundle.reference} for {revision.target}: no key", hint=str(to))

    result = restoring(cluster, BAD, former=Sealed(GOOD))
    assert isinstance(result.error, KeyNeeded)
    assert not cluster.sent("apply") and len(cluster.revisions) == 1
    former = Published(GOOD)
    restoring(cluster, BAD, former=former)
    assert former.asked == [("pull", "v1.0.0"), ("decrypted", "v1.0.0")]


def test_a_way_back_costs_nothing_where_nothing_is_to_do(cluster: FakeCluster) -> None:
    former = Published(GOOD)
    restoring(cluster, GOOD, former=former)
    assert restoring(cluster, GOOD, former=former).status == "unchanged"
    assert former.asked == []
    same = release("v1.0.1", [dict(each) for each in GOOD.objects["stage", "default"]])
    restoring(cluster, same, former=former, policy=Policy())
    assert former.asked == []


def test_under_halt_the_former_release_is_looked_at_and_not_read(cluster: FakeCluster) -> None:
    apply(cluster, GOOD)
    former = Published(GOOD)
    restoring(cluster, NEXT, former=former, policy=Policy())
    assert former.asked == [("check", "v1.0.0")]


@pytest.mark.requirement("A-15")
def test_where_restoring_fails_too_both_are_told_and_the_next_apply_ends_well(
    cluster: FakeCluster,
) -> None:
    apply(cluster, GOOD)
    events: list[Event] = []
    refuses = False

    def refuse(method: str, subject: str) -> None:
        nonlocal refuses
        refuses = refuses or (method, subject) == ("write_revision", "failed")
        if refuses and method == "apply" and subject == "Deployment/shop/cart":
            raise PermissionRefused(f"{subject}: forbidden")

    cluster.on_call = refuse
    result = restoring(cluster, BAD, on_event=events.append)
    assert result.status == "failed"
    assert result.error and result.error.exit_code == 5
    assert "ImagePullBackOff" in result.error.message
    assert "v1.0.0 could not be restored: Deployment/shop/cart: forbidden" in result.error.message
    assert statuses(cluster) == [
        ("v1.0.0", "succeeded"), ("v1.1.0", "failed"), ("v1.0.0", "failed"),
    ]  # fmt: skip
    assert "could not be restored" in cluster.revisions[2].outcome
    assert [each.kind for each in events if each.kind != "wave"] == [
        "start", "failure", "rollback", "failure",
    ]  # fmt: skip
    current = cluster.read().current
    assert current and current.number == 1
    cluster.on_call = lambda _, __: None
    assert apply(cluster, NEXT).status == "succeeded"
    wanted = {ObjectRef.of(each) for each in NEXT.objects["stage", "default"]}
    assert set(cluster.owned(OWNED_BY)) == wanted


def test_a_release_that_is_ready_is_not_taken_back_for_an_old_revision_that_stays(
    cluster: FakeCluster,
) -> None:
    for number in range(KEPT_REVISIONS):
        apply(cluster, GOOD if number % 2 else NEXT)

    def keep(method: str, _: str) -> None:
        if method == "drop_revision":
            raise Unreachable("the cluster does not answer")

    cluster.on_call = keep
    assert restoring(cluster, NEXT).status == "succeeded"
    assert len(cluster.revisions) == KEPT_REVISIONS + 1
    cluster.on_call = lambda _, __: None
    assert restoring(cluster, GOOD).status == "succeeded"
    assert len(cluster.revisions) == KEPT_REVISIONS


def test_a_release_that_is_ready_is_not_taken_back_because_that_cannot_be_written(
    cluster: FakeCluster,
) -> None:
    watched: list[str] = []

    def fail(method: str, _: str) -> None:
        watched.extend([method] * (method == "watch"))
        if watched and method == "write_inventory":
            raise Unreachable("the cluster does not answer")

    apply(cluster, GOOD)
    cluster.on_call = fail
    result = restoring(cluster, NEXT)
    assert isinstance(result.error, Unreachable)
    assert result.rollback is None
    cluster.on_call = lambda _, __: None
    assert restoring(cluster, NEXT).changes.counts()["configured"] == 0
    assert statuses(cluster)[-1] == ("v1.2.0", "succeeded")


def test_who_lost_the_lock_restores_nothing(cluster: FakeCluster) -> None:
    apply(cluster, GOOD)

    def lose(method: str, _: str) -> None:
        if method == "watch":
            raise Locked("the lock was taken over by somebody")

    cluster.on_call = lose
    result = restoring(cluster, BAD)
    assert isinstance(result.error, Locked)
    assert result.rollback is None


@pytest.mark.parametrize(
    ("at", "ends"),
    [
        (1, [("v1.0.0", "succeeded"), ("v1.1.0", "interrupted")]),
        (2, [("v1.0.0", "succeeded"), ("v1.1.0", "failed"), ("v1.0.0", "interrupted")]),
    ],
    ids=["forth", "back"],
)
def test_who_interrupts_an_apply_wants_nothing_restored(
    cluster: FakeCluster, at: int, ends: list[tuple[str, str]]
) -> None:
    apply(cluster, GOOD)
    seen: list[str] = []

    def interrupt(method: str, _: str) -> None:
        if method == "watch":
            seen.append(method)
            if len(seen) == at:
                raise KeyboardInterrupt

    cluster.on_call = interrupt
    with pytest.raises(KeyboardInterrupt):
        restoring(cluster, BAD)
    assert statuses(cluster) == ends
    assert cluster.holder is None


def test_a_reviewed_plan_and_its_limits_are_of_the_way_forth_only(cluster: FakeCluster) -> None:
    checked: list[str] = []
    apply(cluster, GOOD)

    def check(plan: Plan, _: object) -> None:
        checked.append(plan.replaces or "")

    policy = Policy(
        on_failure="rollback", max_deletions=1, changed_jobs="refuse",
        delete=frozenset({"ConfigMap/old"}),
    )  # fmt: skip
    result = restoring(cluster, BAD, check=check, policy=policy)
    assert result.status == "rolled-back"
    assert set(checked) == {"v1.0.0"} and len(checked) <= 2


def test_a_release_may_fail_time_and_again_and_the_good_one_stays_current(
    cluster: FakeCluster,
) -> None:
    apply(cluster, NEXT)
    apply(cluster, GOOD, policy=Policy(allow_downgrade=True))
    for _ in range(15):
        assert restoring(cluster, BAD).status == "rolled-back"
    current = cluster.read().current
    assert current and current.tag == "v1.0.0"
    assert "v1.2.0" in [each.tag for each in cluster.revisions.values()], "to go back to"
    assert len(cluster.revisions) <= 22


# --- migrations ---------------------------------------------------------------------------------


def migration(digest: str, *, reversible: bool = False, job: str | None = "migrate") -> Any:
    return {"treeDigest": digest, "reversible": reversible, "job": job}


def migrating(tag: str, digest: str, image: str, **said: Any) -> Any:
    number = tag.rpartition(".")[0][1:]
    objects = [
        namespace(), config_map("settings", version=tag),
        job("migrate", image=f"shop/migrate:{number}"), deployment("cart", image=image),
    ]  # fmt: skip
    return release(tag, objects, migrations={"cart": migration(digest, **said)})


OLD = migrating("v1.0.0", "sha1:1", "shop/cart:1")
SAME = migrating("v1.1.0", "sha1:1", "shop/broken:2")
OTHER = migrating("v2.0.0", "sha1:2", "shop/broken:2")
BACK_AND_FORTH = migrating("v2.0.0", "sha1:2", "shop/broken:2", reversible=True)
BARRED = Published(OLD, SAME, OTHER, BACK_AND_FORTH)


@pytest.mark.requirement("D-12")
@pytest.mark.parametrize(
    ("bundle", "policy", "is_restored"),
    [
        (SAME, ROLLBACK, True),
        (BACK_AND_FORTH, ROLLBACK, True),
        (OTHER, ROLLBACK, False),
        (OTHER, Policy(on_failure="rollback", past_migrations=True), True),
    ],
    ids=["the same", "reversible", "another", "told to"],
)
def test_a_failed_release_is_not_taken_back_behind_its_migration(
    cluster: FakeCluster, bundle: Any, policy: Policy, is_restored: bool
) -> None:
    apply(cluster, OLD)
    result = restoring(cluster, bundle, former=BARRED, policy=policy)
    assert result.status == ("rolled-back" if is_restored else "failed")
    assert isinstance(result.error, NotReady)
    if not is_restored:
        assert "cart's migration of v2.0.0 (Job migrate)" in result.error.message
        assert "migration-barrier" in [each.rule for each in result.error.findings]


@pytest.mark.requirement("D-12")
@pytest.mark.parametrize(
    ("said", "fails_at", "is_restored"),
    [
        ({}, "ConfigMap/shop/settings", True),
        ({}, "Job/shop/migrate", False),
        ({"job": None}, "Job/shop/migrate", False),
        ({"job": "elsewhere"}, "ConfigMap/shop/settings", True),
    ],
)
def test_a_migration_that_has_not_begun_bars_nothing(
    cluster: FakeCluster, said: Any, fails_at: str, is_restored: bool
) -> None:
    apply(cluster, OLD)
    bundle = migrating("v2.0.0", "sha1:2", "shop/cart:2", **said)
    has_failed = False

    def refuse(method: str, subject: str) -> None:
        nonlocal has_failed
        if (method, subject) == ("apply", fails_at) and not has_failed:
            has_failed = True
            raise Refused(f"{subject}: denied")

    cluster.on_call = refuse
    result = restoring(cluster, bundle, former=BARRED)
    assert (result.status == "rolled-back") is is_restored


@pytest.mark.requirement("D-12", "D-13")
def test_the_plan_tells_which_migration_will_bar_the_way_back(cluster: FakeCluster) -> None:
    apply(cluster, OLD)
    shown: list[Plan] = []

    def show(plan: Plan) -> bool:
        shown.append(plan)
        return False

    restoring(cluster, OTHER, former=BARRED, on_plan=show)
    [warning] = shown[0].warnings
    assert (warning.rule, warning.service) == ("migration-barrier", "cart")
    assert "Job migrate" in warning.message


@pytest.mark.requirement("D-12")
@pytest.mark.parametrize("kind", ["apply", "rollback"])
def test_an_older_release_is_refused_behind_a_migration_that_ran_also_in_a_release_that_failed(
    cluster: FakeCluster, kind: Any
) -> None:
    apply(cluster, OLD)
    apply(cluster, OTHER)
    before = dict(cluster.objects)
    result = apply(cluster, OLD, former=BARRED)
    assert isinstance(result.error, MigrationBarrier)
    assert result.error.exit_code == 4
    assert "v1.0.0 is behind cart's migration of v2.0.0" in result.error.message
    assert [each.service for each in result.error.findings] == ["cart"]
    assert (dict(cluster.objects), len(cluster.revisions)) == (before, 2)
    asked = apply(cluster, OLD, former=BARRED, on_barriers=lambda _: True)
    assert asked.error is None
    # Who has gone back once may stay there, and go on from there.
    hotfix = migrating("v1.0.1", "sha1:1", "shop/cart:1")
    assert apply(cluster, hotfix, former=BARRED).error is None
    assert apply(cluster, OLD, former=BARRED).error is None


@pytest.mark.requirement("D-12")
def test_an_older_release_that_never_ran_here_is_refused_behind_a_migration_too(
    cluster: FakeCluster,
) -> None:
    apply(cluster, migrating("v2.0.0", "sha1:2", "shop/cart:2"))
    apply(cluster, migrating("v3.0.0", "sha1:2", "shop/cart:2", reversible=True))
    never = migrating("v1.5.0", "sha1:1", "shop/cart:1")
    assert isinstance(apply(cluster, never).error, MigrationBarrier)
    assert apply(cluster, never, policy=Policy(past_migrations=True)).error is None


@pytest.mark.requirement("D-12")
def test_revisions_without_recorded_migrations_are_judged_by_their_releases(
    cluster: FakeCluster,
) -> None:
    apply(cluster, OLD)
    apply(cluster, OTHER)
    for number, each in cluster.revisions.items():
        known = {k: v for k, v in each.as_dict().items() if k not in ("migrations", "kind")}
        cluster.revisions[number] = type(each).of_dict(known)
    assert isinstance(apply(cluster, OLD, former=BARRED).error, MigrationBarrier)
    gone = apply(cluster, OLD, former=Published())
    assert gone.error and "no such version" in gone.error.message


def test_a_newer_release_meets_no_barrier(cluster: FakeCluster) -> None:
    apply(cluster, OLD)
    apply(cluster, OTHER)
    assert apply(cluster, migrating("v2.0.1", "sha1:3", "shop/cart:2")).error is None
    assert [use.image for use in images_in(cluster.objects[CART])] == ["shop/cart:2"]


CART = ObjectRef("apps", "Deployment", "shop", "cart")
