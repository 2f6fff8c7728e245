"""Verified bundles of a small shop, made without publishing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bundler.deploy.flow import apply_to_target
from bundler.deploy.limits import Limits
from bundler.deploy.result import Runner, TargetResult
from bundler.errors import NotFound
from bundler.model.bundle import ReleaseDocument, VerifiedBundle
from bundler.model.changeset import Plan
from bundler.model.objects import ENVIRONMENT, MANAGED_BY, OWNER, PART_OF, ObjectRef
from bundler.model.reference import ArtifactReference, Digest, Repository
from bundler.model.revision import Revision, Who
from bundler.ports import DeployTarget

OWNED_BY = "shop/stage/default"
_REPOSITORY = Repository("oci", "registry.example.com/deploy/shop")

Object = dict[str, Any]


def made(api_version: str, kind: str, name: str, *, namespace: str = "shop", **rest: Any) -> Object:
    """An object as a bundle has it, with labels and owner."""
    metadata: Object = {
        "name": name,
        "labels": {PART_OF: "shop", MANAGED_BY: "bundler", ENVIRONMENT: "stage"},
        "annotations": {OWNER: OWNED_BY},
    }
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def namespace(name: str = "shop") -> Object:
    return made("v1", "Namespace", name, namespace="")


def config_map(name: str, **data: str) -> Object:
    return made("v1", "ConfigMap", name, data=data)


def secret(name: str, **data: str) -> Object:
    return made("v1", "Secret", name, data=data)


def pod_template(name: str, image: str) -> Object:
    return {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": image}]},
    }


def deployment(name: str, image: str = "shop/cart:1", **spec: Any) -> Object:
    template = pod_template(name, image)
    selector = {"matchLabels": {"app": name}}
    return made(
        "apps/v1", "Deployment", name, spec={"selector": selector, "template": template, **spec}
    )


def stateful_set(name: str, image: str = "shop/db:1") -> Object:
    template = pod_template(name, image)
    selector = {"matchLabels": {"app": name}}
    return made("apps/v1", "StatefulSet", name, spec={"selector": selector, "template": template})


def job(name: str, image: str = "shop/migrate:1", **spec: Any) -> Object:
    return made("batch/v1", "Job", name, spec={"template": pod_template(name, image), **spec})


def definition(kind: str, group: str) -> Object:
    names = {"kind": kind, "plural": f"{kind.lower()}s"}
    return made(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        f"{kind.lower()}s.{group}",
        namespace="",
        spec={"group": group, "names": names, "scope": "Namespaced"},
    )


def release(
    tag: str,
    objects: Sequence[Object],
    *,
    target: str = "default",
    namespace: str = "shop",
    commit_time: str = "2026-01-01T00:00:00Z",
    protected: bool = False,
    migrations: Mapping[str, Object] | None = None,
) -> VerifiedBundle:
    """`migrations`: service → what the release document says of its migrations."""
    services = {
        name: {"digest": str(Digest.of(name.encode())), "migrations": each}
        for name, each in (migrations or {}).items()
    }
    files = {f"stage/{target}/30-workloads.yaml": repr(services).encode()}
    digest = Digest.of(repr((tag, objects, migrations)).encode())
    value = {
        "project": "shop",
        "tag": tag,
        "version": tag,
        "commit": Digest.of(tag.encode()).hex[:40],
        "commitTime": commit_time,
        "environments": {
            "stage": {"protected": protected, "targets": {target: {"namespace": namespace}}}
        },
        "services": services,
    }
    return VerifiedBundle(
        ArtifactReference(_REPOSITORY, tag, digest),
        digest,
        ReleaseDocument(b"", value),
        files,
        {("stage", target): tuple(sorted(objects, key=ObjectRef.of))},
    )


def runner(
    clock: Callable[[], str] = lambda: "2026-01-01T00:00:00Z",
    monotonic: Callable[[], float] = lambda: 0.0,
    *,
    on_plan: Callable[[Plan], bool] = lambda _: True,
) -> Runner:
    return Runner(
        who=Who(claimed="ci/cd on runner-1", job="https://ci.example.com/7"),
        holder="runner-1",
        clock=clock,
        monotonic=monotonic,
        on_plan=on_plan,
        limits=Limits(),
    )


def apply(to: Any, bundle: VerifiedBundle, **changed: Any) -> TargetResult:
    """Apply to a fake cluster, by its own clock."""
    by = replace(runner(to.clock, to.monotonic), **changed)
    return apply_to_target(bundle, "stage", "default", to, by)


def apply_to(to: DeployTarget, bundle: VerifiedBundle) -> TargetResult:
    return apply_to_target(bundle, "stage", "default", to, runner())


class Published:
    """Implements `bundler.ports.FormerReleases`: releases by their digest."""

    def __init__(self, *releases: VerifiedBundle) -> None:
        self.releases = {str(each.digest): each for each in releases}
        self.asked: list[tuple[str, str]] = []

    def check(self, revision: Revision) -> None:
        self._found("check", revision)

    def pull(self, revision: Revision) -> VerifiedBundle:
        return self._found("pull", revision)

    def decrypted(
        self, bundle: VerifiedBundle, revision: Revision, to: DeployTarget
    ) -> VerifiedBundle:
        assert to.keeps_encrypted is False
        self.asked.append(("decrypted", revision.tag))
        return bundle

    def _found(self, how: str, revision: Revision) -> VerifiedBundle:
        self.asked.append((how, revision.tag))
        if revision.digest not in self.releases:
            raise NotFound(f"{revision.reference}: no such version")
        return self.releases[revision.digest]
