"""render: project, lock and exported tree → every target's objects as they will be applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from bundler.errors import ImagesMissing, ImagesRefused, NotFound, RenderFailed
from bundler.manifests import InvalidYaml, read_documents, write_documents
from bundler.model.bundle import Pin, PinnedOverlay, RenderedBundle, RenderedTarget
from bundler.model.finding import Finding
from bundler.model.lock import ImageLock
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.project import Project
from bundler.model.reference import Digest, ImageReference
from bundler.parallel import threads
from bundler.ports import Renderer
from bundler.publish.pin import (
    check_pins,
    external_images,
    pin,
    with_external_digests,
)
from bundler.publish.placement import check_place, check_shape, file_of, flattened, placed

PARALLEL_RENDERS = 4
PARALLEL_REQUESTS = 16

ResolveExternal = Callable[[ImageReference], Digest]
"""A third-party image → its digest. Raises NotFound, Unreachable, CouldNotCheck."""


def render(
    project: Project,
    lock: ImageLock,
    tree: PurePath,
    renderer: Renderer,
    resolve_external: ResolveExternal,
) -> RenderedBundle:
    """All targets of all environments, with what rendering noticed as findings.

    `tree` is the tag's exported tree. The result's lock has the third-party digests; those that
    the given lock has already are taken over. Raises RenderFailed (all overlays that do not
    build), ImagesMissing (all third-party images that do not exist), ToolMissing.
    """
    overlays = [
        pin(project, environment, target, lock)
        for environment in project.environments.values()
        for target in environment.targets
    ]
    documents = _rendered_documents(overlays, tree, renderer)
    shaped = [check_shape(overlay.place, documents[_key(overlay)]) for overlay in overlays]
    uses = [
        (overlay, tuple(external_images(overlay, project, objects)))
        for overlay, (objects, _) in zip(overlays, shaped, strict=True)
    ]
    lock = replace(lock, external=_external_digests(uses, lock.external, resolve_external))
    targets: list[RenderedTarget] = []
    findings: list[Finding] = []
    for overlay, (objects, problems) in zip(overlays, shaped, strict=True):
        target, noticed = _finished(overlay, project, lock, objects)
        targets.append(target)
        findings += [*problems, *noticed]
    versions = {renderer.name: renderer.version()} if overlays else {}
    return RenderedBundle(lock, tuple(targets), versions, tuple(findings))


def files(rendered: RenderedBundle) -> Mapping[str, bytes]:
    """The files of the content layer: `<environment>/<target>/NN-<stage>.yaml`."""
    grouped: dict[str, list[KubernetesObject]] = {}
    for target in rendered.targets:
        for obj in target.objects:
            grouped.setdefault(file_of(target.place, ObjectRef.of(obj)), []).append(obj)
    return {path: write_documents(grouped[path]) for path in sorted(grouped)}


def _finished(
    overlay: PinnedOverlay, project: Project, lock: ImageLock, objects: Iterable[KubernetesObject]
) -> tuple[RenderedTarget, list[Finding]]:
    pinned = with_external_digests(overlay, project, objects, lock.external)
    ours = placed(overlay, project.name, lock, overlay.services, pinned)
    noticed = [
        replace(finding, file=finding.file or _file(overlay, finding, ours))
        for finding in check_pins(overlay, project, ours, lock.external)
    ]
    noticed += check_place(overlay, ours)
    return RenderedTarget(overlay.environment, overlay.target, ours), noticed


def _file(
    overlay: PinnedOverlay, finding: Finding, objects: Iterable[KubernetesObject]
) -> str | None:
    refs = (ObjectRef.of(obj) for obj in objects)
    found = next((ref for ref in refs if str(ref) == finding.object), None)
    return file_of(overlay.place, found) if found else None


# --- running the renderer -----------------------------------------------------------------------


def _key(overlay: PinnedOverlay) -> tuple[str, tuple[Pin, ...]]:
    """What a render depends on: targets that have it in common share one."""
    return overlay.target.kustomize, overlay.pins


def _rendered_documents(
    overlays: Iterable[PinnedOverlay], tree: PurePath, renderer: Renderer
) -> Mapping[tuple[str, tuple[Pin, ...]], Sequence[Any]]:
    different = {_key(overlay): overlay for overlay in reversed(tuple(overlays))}
    with threads(PARALLEL_RENDERS, waits=True) as pool:
        running = {
            key: pool.submit(_documents, tree, overlay, renderer)
            for key, overlay in reversed(different.items())
        }
    failures = [
        (different[key].place, error)
        for key, future in running.items()
        if isinstance(error := future.exception(), RenderFailed)
    ]
    if failures:
        raise _all_failures(failures, len(running))
    return {key: future.result() for key, future in running.items()}


def _documents(tree: PurePath, overlay: PinnedOverlay, renderer: Renderer) -> Sequence[Any]:
    output = renderer.render(tree, overlay)
    try:
        return tuple(flattened(read_documents(output)))
    except InvalidYaml as error:
        line = f" in line {error.line}" if error.line else ""
        raise RenderFailed(
            f"{overlay.place}: {renderer.name} rendered invalid YAML{line}: {error}"
        ) from error


def _all_failures(failures: Sequence[tuple[str, RenderFailed]], total: int) -> RenderFailed:
    if len(failures) == 1:
        return failures[0][1]
    findings = [
        finding
        for place, error in failures
        for finding in error.findings
        or (Finding("render", error.message, environment=place, hint=error.hint),)
    ]
    places = ", ".join(place for place, _ in failures)
    return RenderFailed(
        f"{len(failures)} of {total} overlays do not render: {places}", findings=findings
    )


# --- third-party images -------------------------------------------------------------------------


def _external_digests(
    uses: Iterable[tuple[PinnedOverlay, Sequence[ImageReference]]],
    known: Mapping[str, Digest],
    resolve_external: ResolveExternal,
) -> Mapping[str, Digest]:
    """Reference as written → digest, for all that have one or need one."""
    digests: dict[str, Digest] = {}
    wanted: dict[str, tuple[PinnedOverlay, ImageReference]] = {}
    for overlay, images in uses:
        for image in images:
            protected = overlay.environment.protected
            digest = known.get(str(image)) if protected else image.digest
            if digest is not None:
                digests[str(image)] = digest
            elif protected:  # a digest too: whoever wrote it may have been wrong
                wanted.setdefault(str(image), (overlay, image))
    digests |= _resolved(wanted, resolve_external)
    return dict(sorted(digests.items()))


def _resolved(
    wanted: Mapping[str, tuple[PinnedOverlay, ImageReference]], resolve_external: ResolveExternal
) -> Mapping[str, Digest]:
    if not wanted:
        return {}
    with threads(PARALLEL_REQUESTS) as pool:
        asked: dict[str, Future[Digest]] = {
            text: pool.submit(resolve_external, image) for text, (_, image) in wanted.items()
        }
    failures = {text: future.exception() for text, future in asked.items()}
    places = {text: overlay.place for text, (overlay, _) in wanted.items()}
    missing = [
        Finding("external-image-missing", error.message, hint=error.hint, environment=places[text])
        for text, error in failures.items()
        if isinstance(error, NotFound)
    ]
    refused = [
        replace(finding, environment=places[text])
        for text, error in failures.items()
        if isinstance(error, ImagesRefused)
        for finding in error.findings
    ]
    if refused:
        raise ImagesRefused("third-party images are refused", findings=[*refused, *missing])
    if missing:
        count = f"{len(missing)} third-party image{'s' if len(missing) > 1 else ''}"
        raise ImagesMissing(f"{count} not found", findings=missing)
    return {text: future.result() for text, future in asked.items()}
