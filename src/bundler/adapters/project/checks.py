"""What the schema of a project file cannot say: references, circles, names that mean two things."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bundler.adapters.project import layers as project_layers
from bundler.adapters.project import values
from bundler.model.finding import Finding, json_pointer
from bundler.model.image_tags import is_template
from bundler.model.project import LibraryCycle, Lookup, Project
from bundler.model.reference import ImageReference, InvalidReference, Repository
from bundler.model.rules import RULES
from bundler.ports import ObjectSchemas


def check(
    document: Mapping[str, Any], root: Path, object_schemas: ObjectSchemas
) -> Iterator[Finding]:
    """Every finding in a document that its schema accepts."""
    yield from _check_libraries(document)
    yield from _check_references(document, root)
    yield from _check_names(document)
    yield from _check_sources(document)
    yield from _check_releases(document)
    yield from _check_rules("/rules", document)
    yield from project_layers.check(document)
    for name, environment in document.get("environments", {}).items():
        version = environment.get("kubernetes")
        if version is not None and not object_schemas.known(str(version)):
            yield _finding(
                f"/environments/{name}/kubernetes",
                f"no schemas for Kubernetes {version}",
                f"the newest known version is {object_schemas.newest()}",
            )
        for pointer, declared in _namespaces(name, environment):
            if declared is None:
                yield _finding(pointer, "no namespace", "give the environment or target one")
        yield from _check_sources_of_objects(document, name, environment)
        yield from _check_without(document, name, environment)
        yield from _check_order(document, name, environment)
        yield from _check_rules(f"/environments/{name}/rules", environment)


def _check_sources_of_objects(
    document: Mapping[str, Any], name: str, environment: Mapping[str, Any]
) -> Iterator[Finding]:
    """Every target needs an overlay or a chart; releases in one target need different names."""
    base = f"/environments/{name}"
    yield from _check_charts(document, f"{base}/helm", values.charts(environment.get("helm")))
    for target, own in values.targets_of(environment).items():
        pointer = values.pointer_of(name, target, environment)
        own_charts = values.charts(own.get("helm"))
        yield from _check_charts(document, f"{pointer}/helm", own_charts)
        charts = own_charts or values.charts(environment.get("helm"))
        if not charts and not own.get("kustomize", environment.get("kustomize")):
            hint = "name an overlay folder under kustomize, or a chart under helm"
            yield _finding(pointer, "has neither an overlay nor a chart", hint)
        if own.get("values") and not charts:
            yield _finding(f"{pointer}/values", "there is no chart that these values are for")


def _check_charts(
    document: Mapping[str, Any], pointer: str, charts: list[Mapping[str, Any]]
) -> Iterator[Finding]:
    names: set[str] = set()
    for chart in charts:
        name = values.release_name(chart)
        if not _RELEASE_NAME.fullmatch(name):
            yield _finding(pointer, f"{name!r} is no name of a release", "give one under release")
        if name in names:
            hint = "give each chart a name of its own under release"
            yield _finding(pointer, f"two releases have the name {name}", hint)
        names.add(name)
        for service in chart.get("pins", {}):
            if service not in document["services"]:
                yield _no_service(f"{pointer}/pins", service, document)


def _namespaces(name: str, environment: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    own = environment.get("namespace")
    for target, settings in values.targets_of(environment).items():
        pointer = values.pointer_of(name, target, environment)
        yield f"{pointer}/namespace", settings.get("namespace", own)


def _check_without(
    document: Mapping[str, Any], name: str, environment: Mapping[str, Any]
) -> Iterator[Finding]:
    lists = {f"/environments/{name}/without": environment.get("without", [])}
    for target, settings in (environment.get("targets") or {}).items():
        pointer = f"/environments/{name}/targets/{target}/without"
        lists[pointer] = (settings or {}).get("without", [])
    for pointer, services in lists.items():
        for service in services:
            if service not in document["services"]:
                yield _no_service(pointer, service, document)
    for target, settings in values.targets_of(environment).items():
        pointer = f"/environments/{name}/targets/{target}/with"
        for service in settings.get("with", []):
            if service not in environment.get("without", []):
                hint = f"with takes back what environments.{name}.without leaves out"
                yield _finding(pointer, f"{service!r} is not left out", hint)


def _check_order(
    document: Mapping[str, Any], name: str, environment: Mapping[str, Any]
) -> Iterator[Finding]:
    pointer = f"/environments/{name}/order"
    seen: set[str] = set()
    for service in (each for step in values.order_of(environment) for each in step):
        if service not in document["services"]:
            yield _no_service(pointer, service, document)
        if service in seen:
            yield _finding(pointer, f"{service!r} stands twice", "name it in one step")
        seen.add(service)


def _check_libraries(document: Mapping[str, Any]) -> Iterator[Finding]:
    libraries = document.get("libraries", {})
    unknown = False
    for kind in ("services", "libraries"):
        for name, settings in document.get(kind, {}).items():
            for used in (settings or {}).get("uses", []):
                if used not in libraries:
                    unknown = True
                    yield _finding(f"/{kind}/{name}/uses", f"no library {used!r}")
    if unknown:
        return
    project = _libraries_only(libraries)
    cycles = set()
    for name in libraries:
        try:
            project.libraries_of([name])
        except LibraryCycle as error:
            if frozenset(error.cycle) not in cycles:
                cycles.add(frozenset(error.cycle))
                yield _finding(
                    f"/libraries/{error.cycle[0]}/uses",
                    f"libraries use each other in a circle: {error}",
                )


def _libraries_only(libraries: Mapping[str, Any]) -> Project:
    parsed = {name: values.library(name, settings, {}) for name, settings in libraries.items()}
    return Project("", {}, parsed, {}, Repository("oci", ""), Lookup({}))


def _check_references(document: Mapping[str, Any], root: Path) -> Iterator[Finding]:
    images = document["images"]
    texts = {"/deployRegistry": document["deployRegistry"]}
    lookup = images.get("lookup", {})
    if isinstance(lookup, str):
        texts["/images/lookup"] = lookup
    else:
        texts |= {json_pointer("images", "lookup", k): v for k, v in lookup.items()}
    for pointer, text in texts.items():
        try:
            values.repository(text, root)
        except InvalidReference as error:
            yield _finding(pointer, str(error))
    yield from _check_image_names(document)
    templates = {"/images/tag": images.get("tag")}
    templates |= {
        f"/services/{n}/tag": (s or {}).get("tag") for n, s in document["services"].items()
    }
    for pointer, template in templates.items():
        if template is not None and not is_template(template):
            yield _finding(
                pointer,
                f"{template!r} is no template of a tag",
                "it needs {commit}, {short} or {short:N}, N at least 4; {branch} may stand beside",
            )


def _check_image_names(document: Mapping[str, Any]) -> Iterator[Finding]:
    registry = document["images"]["registry"]
    try:
        ImageReference.parse(registry.rstrip("/") + "/service")
    except InvalidReference:
        yield _finding(
            "/images/registry",
            f"{registry!r} is no place of images",
            "HOST/NAME, without https:// and without a tag",
        )
    for name, settings in document["services"].items():
        image = (settings or {}).get("image")
        if image is None:
            continue
        try:
            reference = ImageReference.parse(image)
        except InvalidReference as error:
            yield _finding(f"/services/{name}/image", str(error))
            continue
        if reference.tag or reference.digest:
            yield _finding(f"/services/{name}/image", f"{image!r} must have no tag and no digest")


def _check_names(document: Mapping[str, Any]) -> Iterator[Finding]:
    """A name in a manifest must mean one service."""
    owners: dict[str, str] = {}
    for name, settings in document["services"].items():
        service = values.service(name, settings or {}, document)
        for spelling in sorted(service.manifest_names):
            owner = owners.setdefault(spelling, name)
            if owner != name:
                yield _finding(
                    f"/services/{name}", f"image name {spelling!r} means service {owner!r} already"
                )


_RELEASE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?")
_OF_PATHS = ("uses", "ignore", "formerPaths", "strategy")


def _check_sources(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Keys that say something about paths here, beside a source that is elsewhere."""
    for name, settings in document["services"].items():
        given = settings or {}
        elsewhere = next((key for key in ("submodule", "repository") if key in given), None)
        for key in _OF_PATHS if elsewhere else ():
            if key in given:
                yield _finding(
                    f"/services/{name}/{key}",
                    f"has no meaning beside {elsewhere}",
                    f"the {elsewhere}'s commit decides alone",
                )
        if "ref" in given and "repository" not in given:
            yield _finding(f"/services/{name}/ref", "has a meaning only beside repository")
        yield from _check_url(f"/services/{name}/repository", given.get("repository"))


def _check_url(pointer: str, url: str | None) -> Iterator[Finding]:
    """Without repeating it: what is wrong with it may be a password, or a token for a name."""
    try:
        parts = urlsplit(url or "")
        has_secret = parts.password is not None or (
            parts.username is not None and parts.scheme.startswith("http")
        )
    except ValueError:
        yield _finding(pointer, "is no URL")
        return
    if has_secret:
        yield _finding(
            pointer,
            "holds credentials",
            "take them out and replace them by others: whoever has this commit has them; "
            "a credential helper of git gives them to whoever may ask",
        )


def _check_releases(document: Mapping[str, Any]) -> Iterator[Finding]:
    """A pattern that stands for two roles would make one of them mean nothing."""
    owners: dict[str, str] = {}
    for role, patterns in values.branch_roles(document).patterns.items():
        for pattern in patterns:
            owner = owners.setdefault(pattern, role)
            if owner != role:
                yield _finding(f"/branches/{role}", f"{pattern!r} is a {owner} branch already")


def _check_rules(pointer: str, settings: Mapping[str, Any]) -> Iterator[Finding]:
    for name in settings.get("rules", {}):
        place = pointer + json_pointer(name)
        rule = RULES.get(name)
        if rule is None:
            close = get_close_matches(name, RULES, n=1)
            hint = f"did you mean {close[0]}?" if close else "docs/rules.md has all rules"
            yield _finding(place, f"no rule {name!r}", hint)
        elif rule.fixed:
            yield _finding(place, f"rule {name} may not be changed", rule.fixed)


def _no_service(pointer: str, name: str, document: Mapping[str, Any]) -> Finding:
    close = get_close_matches(name, document["services"], n=1)
    return _finding(pointer, f"no service {name!r}", f"did you mean {close[0]}?" if close else None)


def _finding(pointer: str, message: str, hint: str | None = None) -> Finding:
    return Finding("project-file", message, pointer=pointer, hint=hint)
