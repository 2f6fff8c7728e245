"""`bundler.yaml` → Project: its schema first, then what no schema can say; all findings at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundler.errors import ProjectFileInvalid
from bundler.manifests import InvalidYaml, read_documents
from bundler.model.finding import Finding, json_pointer
from bundler.model.image_tags import is_template
from bundler.model.project import (
    DEFAULT_TARGET,
    PROJECT_FILE,
    Allowed,
    Environment,
    Library,
    LibraryCycle,
    Lookup,
    Migrations,
    Project,
    ReleaseRules,
    Service,
    Target,
)
from bundler.model.reference import ImageReference, InvalidReference, Repository
from bundler.ports import DocumentSchemas, ObjectSchemas


def parse(
    text: bytes, root: Path, schemas: DocumentSchemas, object_schemas: ObjectSchemas
) -> Project:
    """The project of a file's text; relative `ocidir://` paths start at `root`.

    Raises ProjectFileInvalid with every finding.
    """
    document = _document(text)
    _raise_for(schemas.check("project", document))
    _raise_for(_check(document, root, object_schemas))
    return _project(document, root)


def _document(text: bytes) -> Mapping[str, Any]:
    try:
        documents = read_documents(text)
    except InvalidYaml as error:
        finding = Finding("invalid-yaml", str(error), file=PROJECT_FILE, line=error.line)
        raise ProjectFileInvalid(f"{PROJECT_FILE} is not valid YAML", findings=[finding]) from error
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        raise ProjectFileInvalid(f"{PROJECT_FILE} must hold one document with keys")
    return documents[0]


def _raise_for(findings: Iterable[Finding]) -> None:
    found = tuple(replace(finding, file=PROJECT_FILE) for finding in findings)
    if found:
        raise ProjectFileInvalid(
            f"{PROJECT_FILE} has {len(found)} error{'s' if len(found) > 1 else ''}",
            hint="docs/project-file.md describes every key",
            findings=found,
        )


# --- what a schema cannot say -------------------------------------------------------------------


def _check(
    document: Mapping[str, Any], root: Path, object_schemas: ObjectSchemas
) -> Iterator[Finding]:
    yield from _check_libraries(document)
    yield from _check_references(document, root)
    yield from _check_names(document)
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
        yield from _check_without(document, name, environment)


def _namespaces(name: str, environment: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    base = f"/environments/{name}"
    own = environment.get("namespace")
    for target, settings in (environment.get("targets") or {}).items():
        yield f"{base}/targets/{target}/namespace", (settings or {}).get("namespace", own)
    if not environment.get("targets"):
        yield f"{base}/namespace", own


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
                yield _finding(pointer, f"no service {service!r}")


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
    values = {name: _library(name, settings or {}) for name, settings in libraries.items()}
    return Project("", {}, values, {}, Repository("oci", ""), Lookup({}))


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
            _repository(text, root)
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
        service = _service(name, settings or {}, document["images"])
        for spelling in sorted(service.manifest_names):
            owner = owners.setdefault(spelling, name)
            if owner != name:
                yield _finding(
                    f"/services/{name}", f"image name {spelling!r} means service {owner!r} already"
                )


def _finding(pointer: str, message: str, hint: str | None = None) -> Finding:
    return Finding("project-file", message, pointer=pointer, hint=hint)


# --- values -------------------------------------------------------------------------------------


def _project(document: Mapping[str, Any], root: Path) -> Project:
    images = document["images"]
    releases = document.get("releases", {})
    lookup = images.get("lookup", {})
    places = {images["registry"]: lookup} if isinstance(lookup, str) else lookup
    services = document["services"]
    environments = [_environment(n, e) for n, e in document.get("environments", {}).items()]
    return Project(
        name=document["name"],
        services={name: _service(name, s or {}, images) for name, s in services.items()},
        libraries={n: _library(n, s or {}) for n, s in document.get("libraries", {}).items()},
        environments={e.name: e for e in environments if e.targets},
        deploy_registry=_repository(document["deployRegistry"], root),
        lookup=Lookup({prefix: _repository(place, root) for prefix, place in places.items()}),
        external=tuple(images.get("external", ())),
        source=document.get("source"),
        releases=ReleaseRules(
            releases.get("tags", "*"),
            tuple(releases.get("branches", ("main", "master"))),
            releases.get("semver", True),
        ),
    )


def _repository(text: str, root: Path) -> Repository:
    repository = Repository.parse(text)
    if repository.scheme == "ocidir":
        return Repository("ocidir", str((root / repository.path).resolve()))
    return repository


def _paths(settings: Mapping[str, Any]) -> tuple[str, ...]:
    paths = settings.get("paths", [settings["path"]] if "path" in settings else [])
    return tuple(path.removeprefix("./").rstrip("/") or "." for path in paths)


def _library(name: str, settings: Mapping[str, Any]) -> Library:
    return Library(name, _paths(settings), tuple(settings.get("uses", ())))


def _service(name: str, settings: Mapping[str, Any], images: Mapping[str, Any]) -> Service:
    migrations = settings.get("migrations")
    return Service(
        name,
        _paths(settings),
        settings.get("image", f"{images['registry'].rstrip('/')}/{name}"),
        settings.get("tag", images.get("tag", "{commit}")),
        tuple(settings.get("uses", ())),
        frozenset(settings.get("names", ())),
        Migrations(_paths(migrations), migrations.get("job"), migrations.get("reversible", False))
        if migrations
        else None,
    )


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
    overlay = own.get("kustomize", environment.get("kustomize", ""))
    return Target(
        name,
        own.get("namespace", environment.get("namespace", "")),
        overlay.removeprefix("./").rstrip("/") or ".",
        frozenset((*environment.get("without", ()), *own.get("without", ()))),
    )
