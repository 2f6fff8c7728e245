"""Gives rendered objects their place in a target: namespace, labels and owner; and their file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from bundler.model.bundle import PinnedTarget
from bundler.model.finding import Finding, json_pointer
from bundler.model.lock import ImageLock
from bundler.model.objects import (
    CLUSTER_SCOPED,
    COMMIT,
    LAST_APPLIED,
    WAVE,
    WAVES,
    WEIGHT,
    KubernetesObject,
    ObjectRef,
    Step,
    is_weight,
    owned,
    wave_of,
)
from bundler.model.reference import Digest
from bundler.model.sops import is_encrypted
from bundler.publish.images import images_of

_MAX_FILE_NAME = 90
"""Bytes: with the longest names of an environment and a target, what readers take as a path."""


def file_of(place: str, obj: KubernetesObject) -> str:
    """Path in the bundle of the file that an object stands in; an encrypted one has its own."""
    step = Step.of(obj)
    stage = f"{place}/{step.wave * 10:02}-{step.name}"
    return f"{stage}.sops/{_own_name(obj)}" if is_encrypted(obj) else f"{stage}.yaml"


def _own_name(obj: KubernetesObject) -> str:
    """A file name for one object: no other of its kind has it."""
    ref = ObjectRef.of(obj)
    name = f"{ref.namespace}.{ref.name}.yaml"
    if re.fullmatch(r"[a-z0-9.-]+", name) and len(name) <= _MAX_FILE_NAME:
        return name
    return f"{Digest.of('/'.join(ref).encode()).hex}.yaml"


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
        findings.append(Finding("empty-render", "there are no objects", environment=place))
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
    pinned: PinnedTarget,
    project: str,
    lock: ImageLock,
    services: Mapping[str, str],
    objects: Iterable[KubernetesObject],
) -> tuple[KubernetesObject, ...]:
    """The objects as they are applied, sorted. `services`: pinned image string → service."""
    objects = tuple(objects)
    cluster_scoped = cluster_scoped_kinds(pinned, objects)
    marked = (
        _owned(_in_namespace(obj, pinned, cluster_scoped), pinned, project, lock, services)
        for obj in objects
    )
    return tuple(sorted(marked, key=ObjectRef.of))


def cluster_scoped_kinds(
    pinned: PinnedTarget, objects: Iterable[KubernetesObject]
) -> Collection[tuple[str, str]]:
    """(group, kind) of what has no namespace: built-in, or defined so, or declared so."""
    kinds = set(CLUSTER_SCOPED)
    for obj in objects:
        ref = ObjectRef.of(obj)
        if ref.kind in pinned.environment.allowed.cluster_scoped:
            kinds.add((ref.group, ref.kind))
        spec = obj.get("spec")
        if ref.kind == "CustomResourceDefinition" and isinstance(spec, Mapping):
            names = spec.get("names")
            if spec.get("scope") == "Cluster" and isinstance(names, Mapping):
                kinds.add((str(spec.get("group")), str(names.get("kind"))))
    return kinds


def _in_namespace(
    obj: KubernetesObject, pinned: PinnedTarget, cluster_scoped: Collection[tuple[str, str]]
) -> KubernetesObject:
    ref = ObjectRef.of(obj)
    metadata = {key: value for key, value in obj["metadata"].items() if key != "namespace"}
    if (ref.group, ref.kind) in cluster_scoped:
        # kustomize's `namespace:` marks every kind that it does not know; API servers drop it.
        return {**obj, "metadata": metadata}
    return {
        **obj,
        "metadata": {**metadata, "namespace": ref.namespace or pinned.target.namespace},
    }


def _owned(
    obj: KubernetesObject,
    pinned: PinnedTarget,
    project: str,
    lock: ImageLock,
    services: Mapping[str, str],
) -> KubernetesObject:
    """With our labels and owner; of a service's workload, its image's commit and its turn too."""
    marked = owned(obj, project, pinned.environment.name, pinned.target.name)
    metadata = marked["metadata"]
    service = workload_service(obj, services)
    commit = {COMMIT: lock.services[service].commit} if service is not None else {}
    step = pinned.environment.order.get(service or "")
    weight = {WEIGHT: str(step)} if step and wave_of(ObjectRef.of(obj)) == "workloads" else {}
    own = {k: v for k, v in metadata["annotations"].items() if k != LAST_APPLIED}
    annotations = {**weight, **own}
    labels = {**metadata["labels"], **commit}
    return {**marked, "metadata": {**metadata, "labels": labels, "annotations": annotations}}


def workload_service(obj: KubernetesObject, services: Mapping[str, str]) -> str | None:
    """The service that a workload runs: that of its first main container with a service's image."""
    uses = [(use, services[use.image]) for use in images_of(obj) if use.image in services]
    main = [service for use, service in uses if "/containers/" in use.pointer]
    return next(iter(main), uses[0][1] if uses else None)


def check_place(pinned: PinnedTarget, objects: Iterable[KubernetesObject]) -> Iterator[Finding]:
    """What leaves the target's namespace without being allowed to, and what stands twice."""
    objects = tuple(objects)
    cluster_scoped = cluster_scoped_kinds(pinned, objects)
    seen: set[ObjectRef] = set()
    yield from check_waves(pinned, objects)
    for obj in objects:
        ref = ObjectRef.of(obj)
        is_cluster_scoped = (ref.group, ref.kind) in cluster_scoped
        problem = _scope_problem(pinned, ref) if is_cluster_scoped else _escape(pinned, ref)
        if ref in seen:
            problem = ("duplicate-object", "stands twice in this target", None)
        seen.add(ref)
        if problem is not None:
            rule, message, hint = problem
            yield Finding(
                rule,
                message,
                file=file_of(pinned.place, obj),
                object=str(ref),
                environment=pinned.place,
                hint=hint,
            )


def check_waves(pinned: PinnedTarget, objects: Iterable[KubernetesObject]) -> Iterator[Finding]:
    """The annotations of ours that say no wave and no weight."""
    for obj in objects:
        annotations = obj["metadata"].get("annotations") or {}
        wave, weight = annotations.get(WAVE, WAVES[0]), annotations.get(WEIGHT, "0")
        problems = {
            WAVE: None if wave in WAVES else f"{wave!r} is no wave: {', '.join(WAVES)}",
            WEIGHT: None if is_weight(weight) else f"{weight!r} is no whole number",
        }
        for key, problem in problems.items():
            if problem:
                yield Finding(
                    "unknown-wave",
                    problem,
                    file=file_of(pinned.place, obj),
                    pointer=json_pointer("metadata", "annotations", key),
                    object=str(ObjectRef.of(obj)),
                    environment=pinned.place,
                )


def _scope_problem(pinned: PinnedTarget, ref: ObjectRef) -> tuple[str, str, str | None] | None:
    allowed = pinned.environment.allowed.cluster_scoped
    is_own_namespace = ref == ObjectRef("", "Namespace", "", pinned.target.namespace)
    if is_own_namespace or ref.kind in allowed:
        return None
    message = f"{ref.kind} belongs to the whole cluster, not to namespace "
    hint = f"add {ref.kind} to environments.{pinned.environment.name}.allow.clusterScoped"
    return "cluster-scoped", message + pinned.target.namespace, hint


def _escape(pinned: PinnedTarget, ref: ObjectRef) -> tuple[str, str, str | None] | None:
    own = pinned.target.namespace
    if ref.namespace == own or ref.namespace in pinned.environment.allowed.namespaces:
        return None
    message = f"namespace {ref.namespace} is not the target's own, {own}"
    place = f"environments.{pinned.environment.name}.allow.namespaces"
    return "namespace-escape", message, f"remove it, or add {ref.namespace} to {place}"
