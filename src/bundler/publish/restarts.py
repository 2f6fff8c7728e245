"""Restarts the pods that use an encrypted Secret when its values change, and no others.

The pod template gets a digest of the encrypted values that it uses. SOPS keeps the text of a value
that stays as it is, so neither another value nor another recipient restarts it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bundler.model.objects import SECRETS, KubernetesObject, ObjectRef
from bundler.model.reference import Digest
from bundler.model.references import references
from bundler.model.sops import is_encrypted

_RESTARTED = frozenset(
    {
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("argoproj.io", "Rollout"),
    }
)
"""(group, kind) of what runs on: Jobs have ended, and their next pods read what is there then."""
_Values = Mapping[tuple[str, str], Mapping[str, Any]]
"""Namespace and name of an encrypted Secret → key → value."""


def with_digests(objects: Iterable[KubernetesObject]) -> tuple[KubernetesObject, ...]:
    """The objects; pods that use encrypted Secrets have a digest of what they use."""
    objects = tuple(objects)
    values = {
        (ref.namespace, ref.name): _values(obj)
        for obj in objects
        if is_encrypted(obj) and (ref := ObjectRef.of(obj))
    }
    return tuple(_with_digest(obj, values) for obj in objects) if values else objects


def _values(obj: KubernetesObject) -> Mapping[str, Any]:
    fields = (obj.get(field) for field in ("data", "stringData"))  # the latter wins
    return {k: v for field in fields if isinstance(field, Mapping) for k, v in field.items()}


def _with_digest(obj: KubernetesObject, values: _Values) -> KubernetesObject:
    ref = ObjectRef.of(obj)
    spec = obj.get("spec")
    template = spec.get("template") if isinstance(spec, Mapping) else None
    if (ref.group, ref.kind) not in _RESTARTED or not isinstance(template, Mapping):
        return obj
    used = sorted(set(_used(ref.namespace, template, values)))
    if not used:
        return obj
    metadata = template.get("metadata") or {}
    digest = str(Digest.of(json.dumps(used).encode()))
    annotations = {**(metadata.get("annotations") or {}), SECRETS: digest}
    annotated = {**template, "metadata": {**metadata, "annotations": annotations}}
    return {**obj, "spec": {**spec, "template": annotated}} if spec else obj


def _used(
    namespace: str, template: Mapping[str, Any], values: _Values
) -> Iterator[tuple[str, str, str]]:
    """Name, key and encrypted value of what a pod takes from encrypted Secrets."""
    for each in references({"spec": template.get("spec")}):
        is_read = each.kind == "Secret" and "imagePullSecrets" not in each.path
        for key, value in values.get((namespace, each.name), {}).items() if is_read else ():
            if each.keys is None or key in each.keys:
                yield each.name, key, str(value)
