"""Releases of any objects, published into a folder registry without git, images or kustomize.

Everything from the placement of objects to the push is what `bundler publish` does itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundler.adapters.registry.registries import Registries
from bundler.manifests import write_documents
from bundler.model.bundle import PinnedTarget, RenderedBundle, RenderedTarget, ValidatedBundle
from bundler.model.lock import ImageLock, ResolvedImage, ResolvedMigrations
from bundler.model.objects import ObjectRef
from bundler.model.project import (
    Allowed,
    ApplySettings,
    Environment,
    Lookup,
    Project,
    Target,
)
from bundler.model.reference import Digest, Repository
from bundler.model.release import ReleaseTag, SourceRevision
from bundler.model.sops import is_encrypted
from bundler.publish.pack import pack
from bundler.publish.placement import placed
from bundler.publish.push import push
from bundler.publish.render import files
from bundler.publish.versions import with_versions

Object = dict[str, Any]
COMMIT_TIME = 1_750_000_000


@dataclass(frozen=True)
class Releases:
    """A project's deploy registry; `namespaces` says where each target of `environment` goes."""

    folder: Path
    namespaces: Mapping[str, str]
    project: str = "shop"
    environment: str = "stage"
    allowed: Allowed = field(default_factory=Allowed)
    is_protected: bool = False
    canaries: frozenset[str] = frozenset()

    @property
    def registry(self) -> str:
        return f"ocidir://{self.folder / self.project}"

    def __call__(self, tag: str) -> str:
        return f"{self.registry}:{tag}"

    def publish(
        self,
        tag: str,
        *objects: Object,
        external: Mapping[str, Digest] | None = None,
        migrations: Mapping[str, ResolvedMigrations] | None = None,
        applying: ApplySettings | None = None,
    ) -> str:
        """Publish a release that has the same objects for every target; its digest.

        `migrations` are those of its services.
        """
        targets = tuple(
            Target(name, where, "overlay", canary=name in self.canaries)
            for name, where in self.namespaces.items()
        )
        environment = Environment(
            self.environment, targets, self.is_protected, allowed=self.allowed,
            applying=applying or ApplySettings(),
        )  # fmt: skip
        repository = Repository.parse(self.registry)
        project = Project(
            self.project, {}, {}, {self.environment: environment}, repository, Lookup({})
        )
        revision = SourceRevision(ReleaseTag(tag), Digest.of(tag.encode()).hex[:40], COMMIT_TIME)
        services = {
            name: ResolvedImage(
                f"registry.example.com/{name}", tag, Digest.of(name.encode()), revision.commit,
                "first-parent", each,
            )
            for name, each in (migrations or {}).items()
        }  # fmt: skip
        lock = ImageLock(revision, services, {}, external or {})
        rendered = RenderedBundle(
            lock,
            tuple(_rendered(project, environment, each, lock, objects) for each in targets),
            {},
        )
        bundle = ValidatedBundle(rendered, files(rendered), {self.environment: "1.34"})
        artifact = pack(project, bundle)
        return str(push(Registries(self.folder), repository, artifact, tag).digest)


def _rendered(
    project: Project,
    environment: Environment,
    target: Target,
    lock: ImageLock,
    objects: Sequence[Object],
) -> RenderedTarget:
    overlay = PinnedTarget(environment, target, ())
    committed = with_versions(placed(overlay, project.name, lock, {}, objects))
    texts = {ObjectRef.of(obj): write_documents([obj]) for obj in committed if is_encrypted(obj)}
    return RenderedTarget(environment, target, committed, texts)


# --- objects ------------------------------------------------------------------------------------


def made(api_version: str, kind: str, name: str, **rest: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **rest}


def sealed(name: str) -> Object:
    """What looks as a Secret that SOPS encrypted; nobody can decrypt it."""
    cipher = "ENC[AES256_GCM,data:b2s=,iv:YQ==,tag:YQ==,type:str]"
    sops = {"mac": cipher, "lastmodified": "2026-01-01T00:00:00Z"}
    return made("v1", "Secret", name, stringData={"value": cipher}, sops=sops)


def config_map(name: str, **content: str) -> Object:
    return made("v1", "ConfigMap", name, data=content)


def pod_template(name: str, image: str, labels: Mapping[str, str], **spec: Any) -> Object:
    return {
        "metadata": {"labels": {"app": name, **labels}},
        "spec": {
            "containers": [{"name": "main", "image": f"registry.example.com/{image}"}],
            **spec,
        },
    }


def deployment(
    name: str, image: str, labels: Mapping[str, str] | None = None, **spec: Any
) -> Object:
    """`labels` are the pods': what tools/kwok plays depends on them, and on the image's name."""
    return made(
        "apps/v1",
        "Deployment",
        name,
        spec={
            "selector": {"matchLabels": {"app": name}},
            "template": pod_template(name, image, labels or {}),
            **spec,
        },
    )


def job(name: str, image: str, labels: Mapping[str, str] | None = None, **spec: Any) -> Object:
    template = pod_template(name, image, labels or {}, restartPolicy="Never")
    return made("batch/v1", "Job", name, spec={"template": template, **spec})


def service(name: str, port: int) -> Object:
    return made("v1", "Service", name, spec={"selector": {"app": name}, "ports": [{"port": port}]})


SLOW = {"kwok.x-k8s.io/ready-after": "3s"}
"""Labels of pods that take their time."""
NEVER = {"kwok.x-k8s.io/ready-after": "1h"}
"""Labels of pods that get ready when a test takes the label away."""
