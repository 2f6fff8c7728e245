"""What is wrong with Kubernetes objects, by the schemas of a version and of CRDs; offline.

Only the definitions that a kind refers to are compiled, when the first object of that kind comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from bundler.adapters.schemas import api_lifetimes
from bundler.adapters.schemas.crd_schemas import (
    INT_OR_STRING,
    OBJECT_META,
    CustomResource,
    CustomVersion,
    custom_resource,
    is_crd,
)
from bundler.adapters.schemas.definitions import (
    Kind,
    closure,
    definitions,
    groups,
    versions,
)
from bundler.adapters.schemas.violations import BadSchema, Compiled, compiled, is_too_deep
from bundler.model.finding import Finding, json_pointer
from bundler.model.objects import KubernetesObject, split_api_version

CRD_RULE = "crd-schema"


class KubernetesSchemas:
    """Implements `bundler.ports.ObjectSchemas`."""

    def __init__(self, crds: Sequence[KubernetesObject] = ()) -> None:
        self._crds = tuple(crds)

    def newest(self) -> str:
        """The newest Kubernetes version known, such as `1.36`."""
        return versions()[-1]

    def known(self, version: str) -> bool:
        return version in versions()

    def versions(self) -> tuple[str, ...]:
        """All known versions, oldest first."""
        return versions()

    def prepare(self, version: str) -> None:
        """Read the version's definitions."""
        definitions(version)

    def with_crds(self, crds: Sequence[KubernetesObject]) -> KubernetesSchemas:
        """These schemas and those of CRDs; what is no CRD is left out."""
        return KubernetesSchemas((*self._crds, *crds))

    def check(
        self, version: str, objects: Sequence[KubernetesObject]
    ) -> Sequence[tuple[int, Finding]]:
        """Violations as (index of the object, finding with pointer and message).

        CRDs among the objects hold for all of them, and are checked themselves.
        """
        custom = _Custom(version, [*self._crds, *objects])
        return [
            (index, finding)
            for index, obj in enumerate(objects)
            for finding in _check(version, obj, custom)
        ]


class _Custom:
    """The custom resources of some CRDs; of two CRDs of a kind the later one holds."""

    def __init__(self, version: str, objects: Sequence[KubernetesObject]) -> None:
        self._version = version
        self._resources: dict[tuple[str, str], CustomResource] = {}
        self._defined: dict[int, CustomResource] = {}
        for obj in objects:
            if is_crd(obj) and not is_too_deep(obj):
                resource = self._defined[id(obj)] = custom_resource(obj)
                self._resources[resource.group, resource.kind] = resource

    def defined_by(self, obj: KubernetesObject) -> CustomResource | None:
        """What one of the objects defines, if it is a CRD."""
        return self._defined.get(id(obj))

    def find(self, kind: Kind) -> CustomResource | None:
        return self._resources.get((kind.group, kind.kind))

    def violations(
        self, resource: CustomResource, kind: Kind, obj: KubernetesObject
    ) -> Iterator[Finding]:
        schema = next((each for each in resource.versions if each.kind == kind), None)
        if schema is None:
            served = [each.kind.api_version for each in resource.versions]
            yield Finding(
                "unknown-kind",
                f"its CRD serves no {kind}",
                pointer="/apiVersion",
                hint=f"use apiVersion {' or '.join(served)}" if served else None,
            )
            return
        if resource.is_cluster_scoped and obj["metadata"].get("namespace"):
            # The CRD stands elsewhere than beside the object, so nobody has asked it before.
            yield Finding(
                "cluster-scoped",
                f"{kind.kind} belongs to the whole cluster, as its CRD says",
                pointer="/metadata/namespace",
                hint=f"add {kind.kind} to allow.clusterScoped of the environment",
            )
        try:
            yield from _custom_schema(self._version, schema).violations(obj)
        except BadSchema as error:
            yield Finding("schema", f"the schema in its CRD is unusable: {error}")


def _check(version: str, obj: KubernetesObject, custom: _Custom) -> Iterator[Finding]:
    if is_too_deep(obj):
        yield Finding("schema", "is nested too deeply")
        return
    group, api_version = split_api_version(str(obj.get("apiVersion", "")))
    kind = Kind(group, api_version, str(obj.get("kind", "")))
    if kind in definitions(version).kinds:
        yield from _own_schema(version, kind).violations(obj)
        deprecation = _deprecation(version, kind)
        if deprecation:
            yield deprecation
        if defined := custom.defined_by(obj):
            yield from _crd_findings(version, defined)
    elif resource := custom.find(kind):
        yield from custom.violations(resource, kind, obj)
    elif group in groups(version) or api_lifetimes.is_known(kind):
        yield api_lifetimes.absent(version, kind)
    else:
        yield Finding("unvalidated", f"no schema for {kind}", "warning")


def _crd_findings(version: str, resource: CustomResource) -> Iterator[Finding]:
    """What is wrong with a CRD, beyond what Kubernetes' own schema says of it."""
    for pointer, message in resource.defects:
        yield Finding(CRD_RULE, message, pointer=pointer)
    for schema in resource.versions:
        try:
            _custom_schema(version, schema)
        except BadSchema as error:
            place = _place_of(schema, error)
            yield Finding(CRD_RULE, f"is no usable schema: {error}", pointer=place)


def _place_of(schema: CustomVersion, error: BadSchema) -> str:
    """Where in the CRD; the compiler's path has the definition's name first."""
    return schema.pointer + json_pointer(*error.path[2:])


@lru_cache(maxsize=512)
def _own_schema(version: str, kind: Kind) -> Compiled:
    found = definitions(version)
    name = found.kinds[kind]
    return compiled(closure(found.schemas, name), name)


@lru_cache(maxsize=512)
def _deprecation(version: str, kind: Kind) -> Finding | None:
    return api_lifetimes.deprecated(version, kind)


@lru_cache(maxsize=256)
def _custom_schema(version: str, of: CustomVersion) -> Compiled:
    """The compiled schema of a custom resource. Raises BadSchema."""
    metadata = closure(definitions(version).schemas, OBJECT_META)
    return compiled({"schema": of.schema, **metadata, **INT_OR_STRING}, "schema")
