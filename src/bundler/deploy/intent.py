"""What a run is to bring a target to, and the revision that will tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from bundler.deploy.guards import Coming
from bundler.deploy.immutable import JOB
from bundler.deploy.plan import Wanted
from bundler.deploy.result import Runner
from bundler.errors import Refused, UsageError
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Plan, Wave
from bundler.model.migrations import Migration, Migrations
from bundler.model.objects import ObjectRef, pod_spec
from bundler.model.reference import Digest
from bundler.model.revision import Kind, Revision, TargetState


@dataclass(frozen=True)
class Intent:
    wanted: Wanted
    revision: Revision
    """Pending, and numbered when the state is known."""
    coming: Coming
    purge: bool = False
    """Whether the state itself is removed in the end."""


def to_apply(
    bundle: VerifiedBundle,
    environment: str,
    target: str,
    runner: Runner,
    state_namespace: str | None = None,
    kind: Kind = "apply",
) -> Intent:
    """Raises UsageError where the bundle has no such target, naming what there is."""
    wanted = wanted_of(bundle, environment, target, state_namespace)
    revision = replace(
        revision_of(bundle, environment, target),
        started=runner.clock(),
        who=runner.who,
        reason=runner.reason,
        kind=kind,
    )
    return Intent(wanted, revision, Coming.of(bundle, environment))


def revision_of(bundle: VerifiedBundle, environment: str, target: str) -> Revision:
    """What a revision says of a release, before anybody applies it."""
    release = cast("Mapping[str, Any]", bundle.release.value)
    return Revision(
        number=0,
        project=release["project"],
        environment=environment,
        target=target,
        tag=release["tag"],
        version=release["version"],
        commit=release["commit"],
        commit_time=release["commitTime"],
        digest=str(bundle.digest),
        reference=str(bundle.reference),
        status="pending",
        image_registry=bundle.image_registry,
        images=bundle.images,
        migrations=migrations_of(bundle, environment, target),
    )


def to_uninstall(state: TargetState, runner: Runner, namespace: str, *, purge: bool) -> Intent:
    """To have nothing in a target, which has at least one revision."""
    last = state.revisions[-1]
    owner = f"{last.project}/{last.environment}/{last.target}"
    revision = replace(
        state.current or last,
        number=0,
        status="pending",
        outcome="",
        started=runner.clock(),
        finished=None,
        duration_seconds=None,
        last_checked=None,
        changes={},
        who=runner.who,
        reason=runner.reason,
        kind="uninstall",
    )
    wanted = Wanted(last.environment, last.target, owner, {}, namespace)
    digest = Digest.parse(revision.digest)
    coming = Coming(revision.tag, revision.commit_time, digest, is_protected=False)
    return Intent(wanted, revision, coming, purge)


def wanted_of(
    bundle: VerifiedBundle, environment: str, target: str, state_namespace: str | None = None
) -> Wanted:
    """What a bundle has for a target. Raises UsageError, naming what there is."""
    objects = bundle.objects.get((environment, target))
    if bundle.encrypted.get((environment, target)):
        raise Refused(f"{bundle.reference}: Secrets of {environment}/{target} are still encrypted")
    if objects is None:
        known = ", ".join(f"{env}/{name}" for env, name in sorted(bundle.objects))
        raise UsageError(
            f"{bundle.reference} has no target {environment}/{target}", hint=f"it has {known}"
        )
    release = cast("Mapping[str, Any]", bundle.release.value)
    namespace = release["environments"][environment]["targets"][target]["namespace"]
    return Wanted(
        environment,
        target,
        f"{release['project']}/{environment}/{target}",
        {ObjectRef.of(obj): obj for obj in objects},
        state_namespace or namespace,
    )


def migrations_of(bundle: VerifiedBundle, environment: str, target: str) -> Migrations:
    """Those of the services that a target has: its files hold their image, or their Job."""
    release = cast("Mapping[str, Any]", bundle.release.value)
    declared = {
        service: (image["digest"], Migration.of_dict(image["migrations"]))
        for service, image in release.get("services", {}).items()
        if image.get("migrations")
    }
    if not declared:
        return {}
    place = f"{environment}/{target}/"
    content = b"\n".join(file for path, file in bundle.files.items() if path.startswith(place))
    jobs = {obj["metadata"]["name"] for obj in bundle.objects[environment, target] if _is_job(obj)}
    return {
        service: migration
        for service, (digest, migration) in declared.items()
        if digest.encode() in content or migration.job in jobs
    }


def begun_by(wave: Wave, plan: Plan, migrations: Migrations) -> frozenset[str]:
    """The services whose migrations may begin with a wave: with their Job, and where the plan has
    none of that name, with the first pods."""
    here = {c.ref.name for c in wave.changes if c.desired and _is_job(c.desired)}
    jobs = {c.ref.name for c in plan.changes if c.desired and _is_job(c.desired)}
    has_pods = any(change.desired and pod_spec(change.desired) for change in wave.changes)
    return frozenset(
        service
        for service, each in migrations.items()
        if (each.job in here if each.job in jobs else has_pods)
    )


def _is_job(obj: Mapping[str, Any]) -> bool:
    ref = ObjectRef.of(obj)
    return (ref.group, ref.kind) == JOB
