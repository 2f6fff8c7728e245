"""A project file's document, already found to be in order, as values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundler.model.project import (
    DEFAULT_TARGET,
    GITFLOW,
    Allowed,
    BranchRoles,
    Environment,
    Library,
    Lookup,
    Migrations,
    OtherRepository,
    Project,
    ReleaseRules,
    RevisionLabel,
    Service,
    Target,
)
from bundler.model.reference import Repository


def project(document: Mapping[str, Any], root: Path) -> Project:
    """The values of a project file; relative folders start at `root`."""
    images = document["images"]
    releases = document.get("releases", {})
    lookup = images.get("lookup", {})
    places = {images["registry"]: lookup} if isinstance(lookup, str) else lookup
    libraries = document.get("libraries", {})
    environments = [_environment(n, e) for n, e in document.get("environments", {}).items()]
    roles = branch_roles(document)
    allowed, denied = _external(images)
    return Project(
        name=document["name"],
        services=services(document, disabled=False),
        disabled=services(document, disabled=True),
        libraries={n: library(n, settings, document) for n, settings in libraries.items()},
        environments={e.name: e for e in environments if e.targets},
        deploy_registry=repository(document["deployRegistry"], root),
        lookup=Lookup({prefix: repository(place, root) for prefix, place in places.items()}),
        external=allowed,
        external_denied=denied,
        external_platforms=tuple(images.get("platforms", ())),
        source=document.get("source"),
        releases=ReleaseRules(
            releases.get("tags", "*"),
            tuple(releases.get("branches", roles.patterns["main"])),
            releases.get("semver", True),
        ),
        revision_label=RevisionLabel(**images.get("revisionLabel", {})),
        branches=roles,
        only_latest=images.get("latest") == "alone",
    )


def branch_roles(document: Mapping[str, Any]) -> BranchRoles:
    given = document.get("branches", {})
    return BranchRoles(
        {role: tuple(given.get(role, default)) for role, default in GITFLOW.patterns.items()}
    )


def _external(images: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is allowed and what is denied."""
    declared = images.get("external", ())
    if isinstance(declared, Mapping):
        return tuple(declared.get("allow", ())), tuple(declared.get("deny", ()))
    return tuple(declared), ()


def repository(text: str, root: Path) -> Repository:
    repository = Repository.parse(text)
    if repository.scheme == "ocidir":
        return Repository("ocidir", str((root / repository.path).resolve()))
    return repository


def _paths(settings: Mapping[str, Any]) -> tuple[str, ...]:
    paths = settings.get("paths", [settings["path"]] if "path" in settings else [])
    return tuple(map(_path, paths))


def _path(text: str) -> str:
    return text.removeprefix("./").rstrip("/") or "."


def library(name: str, settings: Mapping[str, Any] | None, document: Mapping[str, Any]) -> Library:
    given = settings or {}
    ignore = tuple(document.get("ignore", ()))
    return Library(name, _paths(given), tuple(given.get("uses", ())), ignore)


def services(document: Mapping[str, Any], *, disabled: bool) -> dict[str, Service]:
    """The services that are disabled, or those that are not."""
    return {
        name: service(name, settings or {}, document)
        for name, settings in document["services"].items()
        if (settings or {}).get("disabled", False) == disabled
    }


def service(name: str, settings: Mapping[str, Any], document: Mapping[str, Any]) -> Service:
    images = document["images"]
    url = settings.get("repository")
    submodule = settings.get("submodule")
    return Service(
        name,
        _paths(settings),
        settings.get("image", f"{images['registry'].rstrip('/')}/{name}"),
        settings.get("tag", images.get("tag", "{commit}")),
        tuple(settings.get("uses", ())),
        frozenset(settings.get("names", ())),
        _migrations(settings.get("migrations")),
        ignore=(*document.get("ignore", ()), *settings.get("ignore", ())),
        former_paths=tuple(map(_path, settings.get("formerPaths", ()))),
        submodule=_path(submodule) if submodule else None,
        repository=OtherRepository(url, settings.get("ref")) if url else None,
        platforms=tuple(settings.get("platforms", images.get("platforms", ()))),
        strategy=settings.get("strategy", "last-change"),
    )


def _migrations(settings: Mapping[str, Any] | None) -> Migrations | None:
    if settings is None:
        return None
    return Migrations(_paths(settings), settings.get("job"), settings.get("reversible", False))


def _environment(name: str, settings: Mapping[str, Any]) -> Environment:
    targets = settings.get("targets") or {DEFAULT_TARGET: {}}
    allow = settings.get("allow", {})
    return Environment(
        name,
        tuple(
            _target(target, own or {}, settings)
            for target, own in targets.items()
            if not (own or {}).get("disabled", False)
        ),
        settings.get("protected", True),
        str(settings["kubernetes"]) if "kubernetes" in settings else None,
        Allowed(frozenset(allow.get("namespaces", ())), frozenset(allow.get("clusterScoped", ()))),
    )


def _target(name: str, own: Mapping[str, Any], environment: Mapping[str, Any]) -> Target:
    return Target(
        name,
        own.get("namespace", environment.get("namespace", "")),
        _path(own.get("kustomize", environment.get("kustomize", ""))),
        frozenset((*environment.get("without", ()), *own.get("without", ()))),
    )
