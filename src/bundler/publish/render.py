"""render: project, lock and exported tree → every target's objects as they will be applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import NamedTuple

from bundler.manifests import write_documents
from bundler.model.bundle import PinnedTarget, RenderedBundle, RenderedTarget
from bundler.model.finding import Finding
from bundler.model.lock import ImageLock
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.project import Project
from bundler.publish import image_paths
from bundler.publish.external import ResolveExternal, external_digests
from bundler.publish.layering import Layered, layered, unmatched
from bundler.publish.pin import (
    check_pins,
    external_images,
    pin,
    with_external_digests,
    with_services,
)
from bundler.publish.placement import check_place, check_shape, file_of, placed
from bundler.publish.rendering import Documents, Renderers, Rendering, rendering
from bundler.publish.versions import with_versions


def render(
    project: Project,
    lock: ImageLock,
    tree: PurePath,
    renderers: Renderers,
    resolve_external: ResolveExternal,
    newest_kubernetes: str,
) -> RenderedBundle:
    """All targets of all environments of the tag's exported `tree`; see `complete`."""
    with rendering(project, tree, renderers) as started:
        return complete(project, lock, started, renderers, resolve_external, newest_kubernetes)


def complete(
    project: Project,
    lock: ImageLock,
    started: Rendering,
    renderers: Renderers,
    resolve_external: ResolveExternal,
    newest_kubernetes: str,
) -> RenderedBundle:
    """All targets of all environments, with what rendering noticed as findings.

    The result's lock has the third-party digests; those that the given lock has already are taken
    over. Charts of an environment without a version see `newest_kubernetes`. Raises RenderFailed
    (all that does not render), ImagesMissing (all third-party images that do not exist),
    ToolMissing.
    """
    targets = [
        pin(project, environment, target, lock)
        for environment in project.environments.values()
        for target in environment.targets
    ]
    rendered = started.documents(targets, newest_kubernetes)
    # A target's objects are placed while the next one's are rendered.
    placed_targets = [_placed(each, project, lock) for each in zip(targets, rendered, strict=True)]
    uses = [
        (each.pinned, tuple(external_images(each.pinned, project, each.objects)))
        for each in placed_targets
    ]
    lock = replace(lock, external=external_digests(uses, lock.external, resolve_external))
    findings = [*project.warnings]
    findings += unmatched([(each.pinned, each.layered) for each in placed_targets])
    findings += [finding for each in placed_targets for finding in each.findings]
    finished = [_finished(each, project, lock) for each in placed_targets]
    findings += [finding for _, noticed in finished for finding in noticed]
    complete = tuple(target for target, _ in finished)
    findings += image_paths.check(complete)
    return RenderedBundle(lock, complete, renderers.versions(project), tuple(findings))


def files(rendered: RenderedBundle) -> Mapping[str, bytes]:
    """The files of the content layer (docs/bundle-format.md)."""
    grouped: dict[str, list[KubernetesObject]] = {}
    written: dict[str, bytes] = {}
    for target in rendered.targets:
        for obj in target.objects:
            path = file_of(target.place, obj)
            if committed := target.encrypted.get(ObjectRef.of(obj)):
                written[path] = committed
            else:
                grouped.setdefault(path, []).append(obj)
    written |= {path: write_documents(members) for path, members in grouped.items()}
    return {path: written[path] for path in sorted(written)}


class _Placed(NamedTuple):
    """A target's objects with labels, owner and the images of its services."""

    pinned: PinnedTarget
    layered: Layered
    objects: tuple[KubernetesObject, ...]
    findings: tuple[Finding, ...]


def _placed(rendered: tuple[PinnedTarget, Documents], project: Project, lock: ImageLock) -> _Placed:
    pinned, (documents, noticed) = rendered
    objects, problems = check_shape(pinned.place, documents)
    with_layers = layered(pinned, objects)
    with_images = with_services(pinned, with_layers.objects)
    ours = placed(pinned, project.name, lock, pinned.services, with_images)
    findings = (*noticed, *problems, *with_layers.findings, *check_place(pinned, ours))
    return _Placed(pinned, with_layers, ours, findings)


def _finished(
    target: _Placed, project: Project, lock: ImageLock
) -> tuple[RenderedTarget, list[Finding]]:
    """With the digests of third-party images, which are known when all of them are."""
    pinned = target.pinned
    objects = with_external_digests(pinned, project, target.objects, lock.external)
    noticed = [
        replace(finding, file=finding.file or _file(pinned, finding, objects))
        for finding in check_pins(pinned, project, objects, lock.external)
    ]
    return RenderedTarget(pinned.environment, pinned.target, with_versions(objects)), noticed


def _file(
    pinned: PinnedTarget, finding: Finding, objects: Iterable[KubernetesObject]
) -> str | None:
    found = next((obj for obj in objects if str(ObjectRef.of(obj)) == finding.object), None)
    return file_of(pinned.place, found) if found else None
