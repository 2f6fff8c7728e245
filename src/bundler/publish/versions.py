"""Deployments that keep versions → an object for each, and Services for the newest alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bundler.model.objects import KubernetesObject, ObjectRef, mapping
from bundler.model.reference import Digest
from bundler.model.versions import VERSION, VERSION_OF, versions_to_keep
from bundler.publish.rules.workloads import Workload, matches, workload

_DIGITS = 8
_BUDGET = ("policy", "PodDisruptionBudget")


def with_versions(objects: Sequence[KubernetesObject]) -> tuple[KubernetesObject, ...]:
    """The objects, with each Deployment that keeps versions named after the one that it is.

    A version is the content of the pods, so that a release which changes none makes no new one.
    Services and PodDisruptionBudgets that are for such pods alone are for their version alone.
    """
    kept = {id(obj): _version(obj) for obj in objects if versions_to_keep(obj)}
    if not kept:
        return tuple(objects)
    running = [each for obj in objects if (each := workload(obj)) is not None and each.serves]
    versions = {each.ref: kept[id(each.obj)] for each in running if id(each.obj) in kept}
    return tuple(
        _named(obj, kept[id(obj)]) if id(obj) in kept else _narrowed(obj, running, versions)
        for obj in objects
    )


def _version(deployment: KubernetesObject) -> str:
    spec = mapping(deployment.get("spec"))
    return Digest.of_value([spec.get("selector"), spec.get("template")]).hex[:_DIGITS]


def _named(deployment: KubernetesObject, version: str) -> KubernetesObject:
    metadata, spec = mapping(deployment.get("metadata")), mapping(deployment.get("spec"))
    template = mapping(spec.get("template"))
    of_pods = mapping(template.get("metadata"))
    annotations = {**mapping(metadata.get("annotations")), VERSION_OF: metadata["name"]}
    labels = {**mapping(of_pods.get("labels")), VERSION: version}
    return {
        **deployment,
        "metadata": {
            **metadata, "name": f"{metadata['name']}-{version}", "annotations": annotations
        },
        "spec": {
            **spec,
            "selector": _with_label(mapping(spec.get("selector")), version),
            "template": {**template, "metadata": {**of_pods, "labels": labels}},
        },
    }  # fmt: skip


def _with_label(selector: Mapping[str, object], version: str) -> Mapping[str, object]:
    return {**selector, "matchLabels": {**mapping(selector.get("matchLabels")), VERSION: version}}


def _narrowed(
    obj: KubernetesObject, running: Sequence[Workload], versions: Mapping[ObjectRef, str]
) -> KubernetesObject:
    ref, spec = ObjectRef.of(obj), mapping(obj.get("spec"))
    selector = mapping(spec.get("selector"))
    is_service = (ref.group, ref.kind) == ("", "Service")
    if not selector or not (is_service or (ref.group, ref.kind) == _BUDGET):
        return obj
    meant = {"matchLabels": selector} if is_service else selector
    selected = [
        each.ref
        for each in running
        if each.ref.namespace == ref.namespace and matches(meant, each.labels)
    ]
    if len(selected) != 1 or selected[0] not in versions:
        return obj
    version = versions[selected[0]]
    narrow = {**selector, VERSION: version} if is_service else _with_label(selector, version)
    return {**obj, "spec": {**spec, "selector": narrow}}
