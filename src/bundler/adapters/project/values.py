"""A project file's document, already found to be in order, as values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bundler.model.duration import seconds
from bundler.model.project import (
    DEFAULT_TARGET,
    GITFLOW,
    Allowed,
    ApplySettings,
    BranchRoles,
    Environment,
    HelmRelease,
    ImagePath,
    Library,
    Lookup,
    Migrations,
    OtherRepository,
    Policy,
    Project,
    ReleaseRules,
    RevisionLabel,
    Service,
    Target,
    ValuePaths,
)
from bundler.model.reference import Repository

_SLASH = re.compile(r"/(?![^\[]*\])")


def project(document: Mapping[str, Any], root: Path) -> Project:
    """The values of a project file; relative folders start at `root`."""
    images = document["images"]
    releases = document.get("releases", {})
    lookup = images.get("lookup", {})
    places = {images["registry"]: lookup} if isinstance(lookup, str) else lookup
    libraries = document.get("libraries", {})
    rules = document.get("rules", {})
    schemas = document.get("schemas", ())
    paths = image_paths(document)
    environments = [
        replace(_environment(n, e, rules, schemas), image_paths=(*paths, *image_paths(e)))
        for n, e in document.get("environments", {}).items()
    ]
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
    return tuple(map(path, paths))


def path(text: str) -> str:
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
        former_paths=tuple(map(path, settings.get("formerPaths", ()))),
        submodule=path(submodule) if submodule else None,
        repository=OtherRepository(url, settings.get("ref")) if url else None,
        platforms=tuple(settings.get("platforms", images.get("platforms", ()))),
        strategy=settings.get("strategy", "last-change"),
    )


def _migrations(settings: Mapping[str, Any] | None) -> Migrations | None:
    if settings is None:
        return None
    return Migrations(_paths(settings), settings.get("job"), settings.get("reversible", False))


def _environment(
    name: str, settings: Mapping[str, Any], rules: Mapping[str, Policy], schemas: Iterable[str]
) -> Environment:
    allow = settings.get("allow", {})
    return Environment(
        name,
        tuple(
            _target(target, own, settings)
            for target, own in targets_of(settings).items()
            if not own.get("disabled", False)
        ),
        settings.get("protected", True),
        str(settings["kubernetes"]) if "kubernetes" in settings else None,
        Allowed(
            frozenset(allow.get("namespaces", ())),
            frozenset(allow.get("clusterScoped", ())),
            frozenset(allow.get("secrets", ())),
        ),
        {**rules, **settings.get("rules", {})},
        tuple(dict.fromkeys(map(path, (*schemas, *settings.get("schemas", ()))))),
        applying=ApplySettings(
            seconds(settings["timeout"]) if "timeout" in settings else None,
            settings.get("onFailure"),
            settings.get("jobs"),
        ),
        order={
            service: step
            for step, services in enumerate(order_of(settings))
            for service in services
        },
    )


def order_of(environment: Mapping[str, Any]) -> Iterator[list[str]]:
    """The services of each step that `order` declares."""
    for step in environment.get("order", ()):
        yield [step] if isinstance(step, str) else list(step)


def image_paths(settings: Mapping[str, Any]) -> tuple[ImagePath, ...]:
    """What `crdImages` says."""
    return tuple(
        ImagePath(each["kind"], image_steps(each["path"]), each.get("group"), each.get("name"))
        for each in settings.get("crdImages", ())
    )


def image_steps(text: str) -> tuple[str, ...]:
    """The steps of a path: `/` between them, but not in brackets; `~1` is a `/` in a key."""
    return tuple(step.replace("~1", "/") for step in _SLASH.split(text))


def targets_of(environment: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The targets that an environment declares, or the one that it has without a declaration."""
    if "targets" in environment or "targetsFrom" in environment:
        return {name: own or {} for name, own in environment.get("targets", {}).items()}
    return {DEFAULT_TARGET: {}}


class Place(NamedTuple):
    """Where a target is declared, and what decides about its layers."""

    pointer: str
    """An environment without targets stands for its only one."""
    environment: str
    target: str
    type: str | None
    cluster: str | None
    namespace: str | None


def places_of_targets(document: Mapping[str, Any], *, disabled: bool = False) -> Iterator[Place]:
    """Every target; also those that are disabled, if asked for."""
    for name, settings in document.get("environments", {}).items():
        for target, own in targets_of(settings).items():
            if disabled or not own.get("disabled", False):
                yield Place(
                    pointer_of(name, target, settings),
                    name,
                    target,
                    own.get("type", settings.get("type")),
                    own.get("cluster"),
                    own.get("namespace", settings.get("namespace")),
                )


def pointer_of(environment: str, target: str, settings: Mapping[str, Any]) -> str:
    pointer = f"/environments/{environment}"
    return f"{pointer}/targets/{target}" if settings.get("targets") else pointer


def _target(name: str, own: Mapping[str, Any], environment: Mapping[str, Any]) -> Target:
    overlay = own.get("kustomize", environment.get("kustomize"))
    more_values = tuple(map(path, own.get("values", ())))
    return Target(
        name,
        own.get("namespace", environment.get("namespace", "")),
        path(overlay) if overlay else None,
        frozenset(environment.get("without", ())) - frozenset(own.get("with", ()))
        | frozenset(own.get("without", ())),
        tuple(
            helm_release(chart, more_values)
            for chart in charts(own.get("helm", environment.get("helm")))
        ),
        type=own.get("type", environment.get("type")),
        cluster=own.get("cluster"),
        canary=own.get("canary", False),
    )


def charts(given: Mapping[str, Any] | list[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    """What `helm` says: one chart, or several."""
    if given is None:
        return []
    return given if isinstance(given, list) else [given]


def release_name(chart: Mapping[str, Any]) -> str:
    """The name that is given, or the last part of the chart's path."""
    return str(chart.get("release") or path(chart["chart"]).rpartition("/")[2])


def helm_release(chart: Mapping[str, Any], more_values: tuple[str, ...]) -> HelmRelease:
    return HelmRelease(
        path(chart["chart"]),
        release_name(chart),
        (*map(path, chart.get("values", ())), *more_values),
        {service: _value_paths(given) for service, given in chart.get("pins", {}).items()},
        tuple(chart.get("apiVersions", ())),
    )


def _value_paths(given: Any) -> tuple[ValuePaths, ...]:
    several = given if isinstance(given, list) else [given]
    return tuple(
        ValuePaths(found=each) if isinstance(each, str) else ValuePaths(**each) for each in several
    )
