"""A small project with its lock, and objects that use it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bundler.model.lock import ImageLock, ResolvedImage
from bundler.model.project import Allowed, Environment, Lookup, Project, Service, Target
from bundler.model.reference import Digest, ImageReference, Repository
from bundler.model.release import ReleaseTag, SourceRevision

REGISTRY = "registry.example.com/shop"
REDIS = "docker.io/library/redis:7.4.1"
REQUESTS = {"cpu": "50m", "memory": "64Mi"}
REDIS_DIGEST = Digest.of(b"redis")


def commit_of(service: str) -> str:
    return Digest.of(service.encode()).hex[:40]


def pinned(service: str) -> str:
    digest = Digest.of(service.encode())
    return f"{REGISTRY}/{service}:{commit_of(service)}@{digest}"


def resolve_external(_: ImageReference) -> Digest:
    return REDIS_DIGEST


def environment(
    name: str = "stage", *targets: Target, protected: bool = True, allowed: Allowed | None = None
) -> Environment:
    targets = targets or (Target("default", "shop", f"overlays/{name}"),)
    return Environment(name, targets, protected, allowed=allowed or Allowed())


def project(*environments: Environment, services: tuple[str, ...] = ("cart", "orders")) -> Project:
    named = {name: Service(name, (f"services/{name}",), f"{REGISTRY}/{name}") for name in services}
    if "cart" in named:
        named["cart"] = replace(named["cart"], names=frozenset({"old-cart"}))
    return Project(
        "shop",
        named,
        {},
        {each.name: each for each in environments or (environment(),)},
        Repository.parse("oci://registry.example.com/deploy/shop"),
        Lookup({}),
        external=("docker.io/library/redis:7.4.*",),
    )


def lock(of: Project, external: dict[str, Digest] | None = None) -> ImageLock:
    services = {
        name: ResolvedImage(
            service.image,
            commit_of(name),
            Digest.of(name.encode()),
            commit_of(name),
            "first-parent",
        )
        for name, service in of.services.items()
    }
    revision = SourceRevision(ReleaseTag("v1.0.0"), "a" * 40, 1_700_000_000)
    return ImageLock(revision, services, {}, external or {})


def obj(api_version: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
    metadata = {"name": name, **rest.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def pod_spec(*images: str, **rest: Any) -> dict[str, Any]:
    containers = [
        {"name": f"c{index}", "image": image, "resources": {"requests": REQUESTS}}
        for index, image in enumerate(images)
    ]
    return {"containers": containers, **rest}


def deployment(name: str, *images: str, **metadata: Any) -> dict[str, Any]:
    labels = {"app": name}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod_spec(*images)},
    }
    return obj("apps/v1", "Deployment", name, metadata=metadata, spec=spec)
