"""Chooses the adapters: the one place that knows both the commands and the outside world.

Adapters are imported when they are needed: a folder registry costs no HTTP library.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.cli import output
from bundler.cli.options import seconds
from bundler.errors import SourceInvalid, UsageError
from bundler.model.project import PROJECT_FILE, Project
from bundler.model.reference import ArtifactReference, InvalidReference, Repository, is_tag
from bundler.model.release import InvalidTag, ReleaseTag

MAX_CONNECTIONS = 128
_TAR_FILE = re.compile(r".*\.tar(?:[:@][^/]*)?")
"""A file that `bundler save` wrote, with a version or digest where it has several."""

if TYPE_CHECKING:
    from bundler.adapters.git.repository import GitRepository
    from bundler.model.survey import Survey
    from bundler.ports import (
        ArtifactRegistry,
        ContentRegistry,
        ContentWriter,
        DeployRegistry,
        DocumentSchemas,
    )
    from bundler.publish.flow import Parts
    from bundler.publish.rendering import Renderers


def release_tag(given: str | None) -> ReleaseTag:
    """The tag that was named, or the one that a CI system is running for."""
    name = given or _ci_tag()
    if not name:
        raise UsageError(
            "which tag?",
            hint="name it, such as v1.4.0; in CI, GITHUB_REF or CI_COMMIT_TAG does",
        )
    try:
        return ReleaseTag.parse(name)
    except InvalidTag as error:
        raise UsageError(str(error), hint="letters, digits and . _ - +, as in v1.4.0") from error


def _ci_tag() -> str | None:
    reference = os.environ.get("GITHUB_REF", "")
    if reference.startswith("refs/tags/"):
        return reference
    return os.environ.get("CI_COMMIT_TAG")


def publishing(
    repo: Path,
    kustomize: str | None = None,
    helm: str | None = None,
    *,
    plain_http: bool,
    wait_seconds: float = 0,
) -> Parts:
    from bundler.adapters.content_cache import CachedImages, ContentCache
    from bundler.adapters.git.remote import RemoteRepositories
    from bundler.adapters.git.repository import GitRepository
    from bundler.adapters.project import file as project_file
    from bundler.adapters.renderers.helm import Helm
    from bundler.adapters.renderers.kustomize import Kustomize
    from bundler.adapters.schemas.document_schemas import DocumentSchemas
    from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
    from bundler.publish.flow import Parts
    from bundler.publish.rendering import Renderers
    from bundler.publish.waiting import Waiting

    source = GitRepository(repo)
    documents, objects = DocumentSchemas(), KubernetesSchemas()
    registries = deploy_registries(plain_http)
    cache = _cache_folder()
    return Parts(
        source=source,
        parse_project=lambda text, read: project_file.parse(
            text, source.root, documents, objects, read
        ),
        images=CachedImages(registries, ContentCache(cache / "content")),
        repositories=RemoteRepositories(cache / "repositories"),
        registry=registries,
        renderers=Renderers(Kustomize(kustomize, helm), Helm(helm), _processors()),
        cached=_cached_renderers(cache / "renders"),
        objects=objects,
        documents=documents,
        progress=output.note,
        waiting=Waiting(wait_seconds, time.monotonic, time.sleep, output.note),
        seconds_of_asking=_registry_seconds(),
    )


def _cached_renderers(folder: Path) -> Callable[[Renderers, str], Renderers]:
    from bundler.adapters.renderers.cache import CachedCharts, CachedOverlays, RenderCache

    cache = RenderCache(folder)
    return lambda renderers, tree: replace(
        renderers,
        overlays=CachedOverlays(renderers.overlays, cache, tree),
        charts=CachedCharts(renderers.charts, cache, tree),
    )


def _processors() -> int:
    """Those that we may use; two at least, as one waits for the other's output."""
    return max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


@dataclass(frozen=True)
class DevelopParts:
    """What the develop flow works with: a repository, and how its project file is read."""

    source: GitRepository
    parse_project: Callable[[bytes], Project]


def developing(repo: Path) -> DevelopParts:
    from bundler.adapters.git.repository import GitRepository
    from bundler.adapters.project import file as project_file
    from bundler.adapters.schemas.document_schemas import DocumentSchemas
    from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas

    source = GitRepository(repo)
    schemas = (DocumentSchemas(), KubernetesSchemas())
    return DevelopParts(source, lambda text: project_file.parse(text, source.root, *schemas))


def artifact_registry(plain_http: bool) -> ArtifactRegistry:
    return deploy_registries(plain_http)


def content_registry(plain_http: bool) -> ContentRegistry:
    return deploy_registries(plain_http)


def deploy_registries(plain_http: bool) -> DeployRegistry:
    from bundler.adapters.registry.registries import Registries

    return Registries(Path.cwd(), plain_http=plain_http, connections=_registry_connections())


def tar_writer(path: Path, *, overwrite: bool) -> AbstractContextManager[ContentWriter]:
    """Writes a tar file that is there, whole, at the end of the block, and not before.

    Raises UsageError for a file that exists, unless it is to be overwritten.
    """
    from bundler.adapters.layout.oci_tar import OciTarWriter

    return OciTarWriter(path, overwrite=overwrite)


def _cache_folder() -> Path:
    """What can be asked for again, and never changes: images' manifests, other repositories."""
    if given := os.environ.get("BUNDLER_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "release-bundler"


def _registry_seconds() -> float:
    """The longest time that all questions about a release's images may take together."""
    return seconds(os.environ.get("BUNDLER_REGISTRY_TIMEOUT") or "5m")


def _registry_connections() -> int:
    """How many requests one registry gets at the same time."""
    text = os.environ.get("BUNDLER_REGISTRY_CONNECTIONS") or "16"
    if not text.isdecimal() or not 1 <= int(text) <= MAX_CONNECTIONS:
        raise UsageError(
            f"$BUNDLER_REGISTRY_CONNECTIONS is {text!r}",
            hint=f"a number from 1 to {MAX_CONNECTIONS}",
        )
    return int(text)


def write_tree(directory: Path, files: Mapping[str, bytes]) -> None:
    from bundler.adapters import files as folder

    folder.write_tree(directory, files)


def work_tree(repo: Path) -> Path:
    from bundler.adapters import repository_survey

    return repository_survey.work_tree(repo)


def survey(root: Path) -> Survey:
    from bundler.adapters import repository_survey

    return repository_survey.survey(root)


def write_file(file: Path, content: bytes, *, private: bool = False) -> None:
    from bundler.adapters import files as folder

    folder.write_file(file, content, private=private)


def document_schemas() -> DocumentSchemas:
    from bundler.adapters.schemas.document_schemas import DocumentSchemas

    return DocumentSchemas()


def repository(text: str) -> Repository:
    try:
        return Repository.parse(text)
    except InvalidReference as error:
        raise UsageError(
            str(error), hint="a deploy registry is oci://HOST/NAME or ocidir://FOLDER"
        ) from error


def deploy_registry(given: str | None) -> Repository:
    """The registry that was named, or that of the project file at hand."""
    return repository(given) if given else _project_at_hand().deploy_registry


def artifact_reference(text: str, registry: str | None) -> ArtifactReference:
    """A full reference, a tar file, or a version or digest in the deploy registry that is known."""
    if "://" not in text and _TAR_FILE.fullmatch(text):
        text = f"ocitar://{text}"
    try:
        if "://" in text:
            reference = ArtifactReference.parse(text)
            is_exact = reference.tag is not None or reference.digest is not None
            if not is_exact and reference.repository.scheme != "ocitar":
                raise UsageError(
                    f"{text} names no version", hint=f"add one: {text}:v1.4.0 or {text}@sha256:…"
                )
            return reference
        place = deploy_registry(registry)
        return ArtifactReference.parse(
            f"{place}{'' if text.startswith('@') else ':'}{_version(text)}"
        )
    except InvalidReference as error:
        raise UsageError(
            str(error), hint="a version such as v1.4.0, or oci://HOST/NAME:VERSION"
        ) from error


def _version(text: str) -> str:
    version = text.replace("+", "_")
    if not text.startswith("@") and not is_tag(version):
        raise InvalidReference(f"{text!r} is not a version")
    return version


def _project_at_hand() -> Project:
    """The work tree's project file: enough to know a registry, never used to publish."""
    from bundler.adapters.git.repository import GitRepository
    from bundler.adapters.project import file as project_file
    from bundler.adapters.schemas.document_schemas import DocumentSchemas
    from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas

    try:
        root = GitRepository(Path.cwd()).root
        text = (root / PROJECT_FILE).read_bytes()
    except (SourceInvalid, OSError) as error:
        raise UsageError(
            "which deploy registry?",
            hint="name it with --deploy-registry or $BUNDLER_DEPLOY_REGISTRY, give a full "
            f"reference, or run it beside a {PROJECT_FILE}",
        ) from error
    return project_file.parse(text, root, DocumentSchemas(), KubernetesSchemas())
