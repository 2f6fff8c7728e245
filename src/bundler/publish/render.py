"""render: project, lock and exported tree → every target's objects as they will be applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePath

from bundler.manifests import write_documents
from bundler.model.bundle import PinnedTarget, RenderedBundle, RenderedTarget
from bundler.model.finding import Finding
from bundler.model.lock import ImageLock
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.project import Project
from bundler.publish import image_paths
from bundler.publish.external import ResolveExternal, external_digests
from bundler.publish.layering import with_layers
from bundler.publish.pin import (
    check_pins,
    external_images,
    pin,
    with_external_digests,
    with_services,
)
from bundler.publish.placement import check_place, check_shape, file_of, placed
from bundler.publish.rendering import Renderers, rendered_documents


def render(
    project: Project,
    lock: ImageLock,
    tree: PurePath,
    renderers: Renderers,
    resolve_external: ResolveExternal,
    newest_kubernetes: str,
) -> RenderedBundle:
    """All targets of all environments, with what rendering noticed as findings.

    `tree` is the tag's exported tree. The result's lock has the third-party digests; those that
    the given lock has already are taken over. Charts of an environment without a version see
    `newest_kubernetes`. Raises RenderFailed (all that does not render), ImagesMissing (all
    third-party images that do not exist), ToolMissing.
    """
    targets = [
        pin(project, environment, target, lock)
        for environment in project.environments.values()
        for target in environment.targets
    ]
    documents = rendered_documents(targets, project, tree, renderers, newest_kubernetes)
    shaped = [
        check_shape(pinned.place, each.documents)
        for pinned, each in zip(targets, documents, strict=True)
    ]
    layered, misfits = with_layers(targets, [objects for objects, _ in shaped])
    layered = [with_services(*each) for each in zip(targets, layered, strict=True)]
    uses = [
        (pinned, tuple(external_images(pinned, project, objects)))
        for pinned, objects in zip(targets, layered, strict=True)
    ]
    lock = replace(lock, external=external_digests(uses, lock.external, resolve_external))
    finished: list[RenderedTarget] = []
    findings = [*project.warnings, *misfits]
    findings += [finding for each in documents for finding in each.findings]
    findings += [finding for _, problems in shaped for finding in problems]
    for pinned, objects in zip(targets, layered, strict=True):
        target, noticed = _finished(pinned, project, lock, objects)
        finished.append(target)
        findings += noticed
    findings += image_paths.check(finished)
    return RenderedBundle(lock, tuple(finished), renderers.versions(project), tuple(findings))


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


def _finished(
    pinned: PinnedTarget, project: Project, lock: ImageLock, objects: Iterable[KubernetesObject]
) -> tuple[RenderedTarget, list[Finding]]:
    with_digests = with_external_digests(pinned, project, objects, lock.external)
    ours = placed(pinned, project.name, lock, pinned.services, with_digests)
    noticed = [
        replace(finding, file=finding.file or _file(pinned, finding, ours))
        for finding in check_pins(pinned, project, ours, lock.external)
    ]
    noticed += check_place(pinned, ours)
    return RenderedTarget(pinned.environment, pinned.target, ours), noticed


def _file(
    pinned: PinnedTarget, finding: Finding, objects: Iterable[KubernetesObject]
) -> str | None:
    found = next((obj for obj in objects if str(ObjectRef.of(obj)) == finding.object), None)
    return file_of(pinned.place, found) if found else None
