"""Gives rendered objects their place in a target: namespace, labels and owner; and their file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from bundler.model.bundle import PinnedOverlay
from bundler.model.finding import Finding
from bundler.model.lock import ImageLock
from bundler.model.objects import (
    CLUSTER_SCOPED,
    COMMIT,
    ENVIRONMENT,
    FIELD_MANAGER,
    MANAGED_BY,
    OWNER,
    PART_OF,
    WAVES,
    KubernetesObject,
    ObjectRef,
    wave_of,
)
from bundler.publish.images import images_of

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def file_of(place: str, ref: ObjectRef) -> str:
    """Path in the bundle of the file that an object stands in."""
    wave = wave_of(ref)
    return f"{place}/{WAVES.index(wave) * 10:02}-{wave}.yaml"


def flattened(documents: Iterable[Any]) -> Iterator[Any]:
    """The documents with each `List` replaced by its items."""
    for document in documents:
        kind = document.get("kind") if isinstance(document, Mapping) else None
        items = document.get("items") if isinstance(document, Mapping) else None
        if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
            yield from flattened(items)
        else:
            yield document


def check_shape(
    place: str, documents: Iterable[Any]
) -> tuple[list[KubernetesObject], list[Finding]]:
    """The documents that are objects, and what is wrong with the others."""
    objects: list[KubernetesObject] = []
    findings: list[Finding] = []
    for number, document in enumerate(documents, 1):
        problem = _problem(document)
        if problem is None:
            objects.append(document)
            continue
        rule, message = problem
        name = str(ObjectRef.of(document)) if rule == "generate-name" else None
        findings.append(
            Finding(rule, f"document {number}: {message}", object=name, environment=place)
        )
    if not objects and not findings:
        findings.append(Finding("empty-render", "the overlay has no objects", environment=place))
    return objects, findings


def _problem(document: Any) -> tuple[str, str] | None:
    """Rule and message, where a document is no object that could be applied."""
    if not isinstance(document, Mapping):
        return "no-object", "is not a mapping"
    metadata = document.get("metadata")
    missing = [key for key in ("apiVersion", "kind", "metadata") if not document.get(key)]
    if missing:
        return "no-object", f"{missing[0]} is missing"
    if not isinstance(metadata, Mapping):
        return "no-object", "metadata is not a mapping"
    for key in ("labels", "annotations"):
        if not isinstance(metadata.get(key) or {}, Mapping):
            return "no-object", f"metadata.{key} is not a mapping"
    return _name_problem(str(document["kind"]), metadata)


def _name_problem(kind: str, metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    name = metadata.get("name")
    if metadata.get("generateName") and not name:
        return "generate-name", f"{kind} has generateName: each apply would make another one"
    if not isinstance(name, str) or not name:
        return "no-object", f"{kind} has no metadata.name"
    return None


def placed(
    overlay: PinnedOverlay,
    project: str,
    lock: ImageLock,
    services: Mapping[str, str],
    objects: Iterable[KubernetesObject],
) -> tuple[KubernetesObject, ...]:
    """The objects as they are applied, sorted. `services`: pinned image string → service."""
    objects = tuple(objects)
    cluster_scoped = cluster_scoped_kinds(overlay, objects)
    owned = (
        _owned(_in_namespace(obj, overlay, cluster_scoped), overlay, project, lock, services)
        for obj in objects
    )
    return tuple(sorted(owned, key=ObjectRef.of))


def cluster_scoped_kinds(
    overlay: PinnedOverlay, objects: Iterable[KubernetesObject]
) -> Collection[tuple[str, str]]:
    """(group, kind) of what has no namespace: built-in, or defined so, or declared so."""
    kinds = set(CLUSTER_SCOPED)
    for obj in objects:
        ref = ObjectRef.of(obj)
        if ref.kind in overlay.environment.allowed.cluster_scoped:
            kinds.add((ref.group, ref.kind))
        spec = obj.get("spec")
        if ref.kind == "CustomResourceDefinition" and isinstance(spec, Mapping):
            names = spec.get("names")
            if spec.get("scope") == "Cluster" and isinstance(names, Mapping):
                kinds.add((str(spec.get("group")), str(names.get("kind"))))
    return kinds


def _in_namespace(
    obj: KubernetesObject, overlay: PinnedOverlay, cluster_scoped: Collection[tuple[str, str]]
) -> KubernetesObject:
    ref = ObjectRef.of(obj)
    metadata = {key: value for key, value in obj["metadata"].items() if key != "namespace"}
    if (ref.group, ref.kind) in cluster_scoped:
        # kustomize's `namespace:` marks every kind that it does not know; API servers drop it.
        return {**obj, "metadata": metadata}
    return {
        **obj,
        "metadata": {**metadata, "namespace": ref.namespace or overlay.target.namespace},
    }


def _owned(
    obj: KubernetesObject,
    overlay: PinnedOverlay,
    project: str,
    lock: ImageLock,
    services: Mapping[str, str],
) -> KubernetesObject:
    """With our labels and owner, on its own metadata only: pods and selectors stay as they are."""
    metadata = obj["metadata"]
    labels = {
        **(metadata.get("labels") or {}),
        PART_OF: project,
        MANAGED_BY: FIELD_MANAGER,
        ENVIRONMENT: overlay.environment.name,
    }
    service = workload_service(obj, services)
    if service is not None:
        labels[COMMIT] = lock.services[service].commit
    annotations = {**(metadata.get("annotations") or {}), OWNER: f"{project}/{overlay.place}"}
    annotations.pop(_LAST_APPLIED, None)
    return {**obj, "metadata": {**metadata, "labels": labels, "annotations": annotations}}


def workload_service(obj: KubernetesObject, services: Mapping[str, str]) -> str | None:
    """The service that a workload runs: that of its first main container with a service's image."""
    uses = [(use, services[use.image]) for use in images_of(obj) if use.image in services]
    main = [service for use, service in uses if "/containers/" in use.pointer]
    return next(iter(main), uses[0][1] if uses else None)


def check_place(overlay: PinnedOverlay, objects: Iterable[KubernetesObject]) -> Iterator[Finding]:
    """What leaves the target's namespace without being allowed to, and what stands twice."""
    objects = tuple(objects)
    cluster_scoped = cluster_scoped_kinds(overlay, objects)
    seen: set[ObjectRef] = set()
    for obj in objects:
        ref = ObjectRef.of(obj)
        is_cluster_scoped = (ref.group, ref.kind) in cluster_scoped
        problem = _scope_problem(overlay, ref) if is_cluster_scoped else _escape(overlay, ref)
        if ref in seen:
            problem = ("duplicate-object", "stands twice in this target", None)
        seen.add(ref)
        if problem is not None:
            rule, message, hint = problem
            yield Finding(
                rule,
                message,
                file=file_of(overlay.place, ref),
                object=str(ref),
                environment=overlay.place,
                hint=hint,
            )


def _scope_problem(overlay: PinnedOverlay, ref: ObjectRef) -> tuple[str, str, str | None] | None:
    allowed = overlay.environment.allowed.cluster_scoped
    is_own_namespace = ref == ObjectRef("", "Namespace", "", overlay.target.namespace)
    if is_own_namespace or ref.kind in allowed:
        return None
    message = f"{ref.kind} belongs to the whole cluster, not to namespace "
    hint = f"add {ref.kind} to environments.{overlay.environment.name}.allow.clusterScoped"
    return "cluster-scoped", message + overlay.target.namespace, hint


def _escape(overlay: PinnedOverlay, ref: ObjectRef) -> tuple[str, str, str | None] | None:
    own = overlay.target.namespace
    if ref.namespace == own or ref.namespace in overlay.environment.allowed.namespaces:
        return None
    message = f"namespace {ref.namespace} is not the target's own, {own}"
    place = f"environments.{overlay.environment.name}.allow.namespaces"
    return "namespace-escape", message, f"remove it, or add {ref.namespace} to {place}"
