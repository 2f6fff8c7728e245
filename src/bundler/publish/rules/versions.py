"""What keeps a Deployment from being switched to, and back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from bundler.model.finding import Finding, json_pointer
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.versions import (
    KEEP_VERSIONS,
    asked_to_keep,
    family_of,
    selected_version,
    versions_to_keep,
)
from bundler.publish.rules.scope import Scope

_POINTER = json_pointer("metadata", "annotations", KEEP_VERSIONS)


def keep_versions(scope: Scope) -> Iterator[Finding]:
    switched = {each.ref for service, each in scope.selecting if selected_version(service)}
    shared = {
        each.ref: service for service, each in scope.selecting if not selected_version(service)
    }
    for obj in scope.target.objects:
        if asked_to_keep(obj) is None:
            continue
        if problem := _problem(scope, obj, switched, shared):
            message, hint = problem
            yield scope.finding("keep-versions", obj, _POINTER, message, hint)


def _problem(
    scope: Scope,
    obj: KubernetesObject,
    switched: Collection[ObjectRef],
    shared: Mapping[ObjectRef, KubernetesObject],
) -> tuple[str, str] | None:
    if not versions_to_keep(obj):
        said = asked_to_keep(obj)
        return f"{said!r} is no number of versions to keep", 'of a Deployment, "1" to "9"'
    ref = ObjectRef.of(obj)
    _, name = family_of(obj) or ("", ref.name)
    if autoscaler := scope.autoscaler(ref._replace(name=name)):
        return (
            f"{ObjectRef.of(autoscaler.obj)} scales it, and would scale no version but one",
            "give it a number of replicas in place of the autoscaler, or keep no versions",
        )
    if ref not in switched:
        return (
            "no Service is for its pods alone, so that nothing could be switched",
            "give its pods a label that no other workload has, and the Service a selector of it",
        )
    if service := shared.get(ref):
        return (
            f"{ObjectRef.of(service)} is for other pods too, and would lead to all versions",
            "give the Service a selector that means the pods of one workload",
        )
    return None
