"""A release and a target → the least that an account needs there, as Roles and a ClusterRole.

Enough to plan, apply, wait, delete what is stale, go back, look for drift and uninstall. Inside a
namespace kinds count; objects of the whole cluster are named one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from bundler.deploy.image_presence import declared_pull_secrets
from bundler.deploy.permissions import helpful_needs, later_needs, required_needs
from bundler.deploy.plan import Wanted
from bundler.model.bundle import VerifiedBundle
from bundler.model.objects import BUILT_IN_GROUPS, KubernetesObject, ObjectRef
from bundler.model.scaling import AUTOSCALER, is_scalable
from bundler.ports import Need

_RBAC = "rbac.authorization.k8s.io"
_DEFINITION = ("apiextensions.k8s.io", "CustomResourceDefinition")
_VERBS = ("get", "list", "watch", "create", "patch", "update", "delete", "bind")
_ENTIRE_CLUSTER = ""

Plurals = Callable[[str, str], str | None]
"""(group, kind) → how the API calls its objects; None where that is not known."""


@dataclass(frozen=True)
class Grant:
    """The roles, in the order in which they are created, and what to look at first."""

    objects: tuple[KubernetesObject, ...]
    remarks: tuple[str, ...]


def wanted_in(
    bundle: VerifiedBundle, environment: str, target: str, state_namespace: str | None
) -> Wanted:
    """What a bundle has for a target, encrypted Secrets as they are: their names are in clear."""
    place = (environment, target)
    release = cast("Mapping[str, Any]", bundle.release.value)
    own = release["environments"][environment]["targets"][target]["namespace"]
    sealed = [
        ref if ref.namespace else ref._replace(namespace=own)
        for ref in (ObjectRef.of(each.document) for each in bundle.encrypted.get(place, ()))
    ]
    objects = {ObjectRef.of(obj): obj for obj in bundle.objects[place]}
    secrets: dict[ObjectRef, KubernetesObject] = {ref: {} for ref in sealed}
    return Wanted(environment, target, "", objects | secrets, state_namespace or own)


class _Resource(NamedTuple):
    group: str
    plural: str
    name: str


def grant(
    wanted: Wanted, name: str, plurals: Plurals, subjects: Sequence[Mapping[str, str]] = ()
) -> Grant:
    """Roles of this name, and bindings where there are subjects for them."""
    names = _Names(wanted, plurals)
    needs = {*required_needs(wanted, ()), *helpful_needs(wanted), *later_needs(wanted)}
    verbs: dict[str, dict[_Resource, set[str]]] = defaultdict(lambda: defaultdict(set))
    for need in (*needs, *_besides(wanted)):
        resource = _Resource(need.group, names.plural(need.group, need.kind), need.name)
        verbs[need.namespace][resource].add(need.verb)
    for namespace in {ref.namespace for ref in wanted.objects if ref.namespace}:
        if any(need.kind == "Pod" and need.namespace == namespace for need in needs):
            verbs[namespace][_Resource("", "pods/log", "")].add("get")
    handed_out = _handed_out(wanted)
    roles = [
        _role(name, namespace, [*_rules(verbs[namespace]), *handed_out.get(namespace, ())])
        for namespace in sorted(verbs)
    ]
    bindings = [_binding(role, subjects) for role in roles] if subjects else []
    return Grant((*roles, *bindings), (*names.remarks(), *_aggregated(wanted)))


def _besides(wanted: Wanted) -> Iterator[Need]:
    """The cluster's identity, pull secrets, autoscalers, and binding the roles that the release
    binds."""
    yield Need("get", "", "Namespace", _ENTIRE_CLUSTER, "kube-system")
    for namespace in {ref.namespace for ref, obj in wanted.objects.items() if is_scalable(obj)}:
        yield Need("list", *AUTOSCALER, namespace)
    for ref in declared_pull_secrets(wanted.objects.values()):
        yield Need("get", ref.group, ref.kind, ref.namespace, ref.name)
    for ref, obj in wanted.objects.items():
        if ref.group == _RBAC and ref.kind in ("RoleBinding", "ClusterRoleBinding"):
            bound = obj.get("roleRef") or {}
            kind, name = str(bound.get("kind")), str(bound.get("name"))
            yield Need("bind", _RBAC, kind, ref.namespace, name)


def _handed_out(wanted: Wanted) -> Mapping[str, list[Mapping[str, Any]]]:
    """Namespace → rules of the release's own roles: nobody may grant what he has not."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for ref, obj in sorted(wanted.objects.items()):
        if ref.group == _RBAC and ref.kind in ("Role", "ClusterRole"):
            found[ref.namespace] += obj.get("rules") or ()
    return found


def _aggregated(wanted: Wanted) -> Iterator[str]:
    for ref, obj in sorted(wanted.objects.items()):
        if ref.group == _RBAC and obj.get("aggregationRule"):
            yield f"{ref} aggregates others: who applies it needs the verb escalate on it"


class _Names:
    """Plurals as the release's own definitions say, then as they are known, else as they mostly
    are."""

    def __init__(self, wanted: Wanted, plurals: Plurals) -> None:
        self._defined = dict(_defined(wanted.objects))
        self._plurals = plurals
        self._guessed: set[str] = set()

    def plural(self, group: str, kind: str) -> str:
        found = self._defined.get((group, kind))
        if found or group in BUILT_IN_GROUPS:
            return found or usual_plural(kind)
        found = self._plurals(group, kind)
        if not found:
            found = usual_plural(kind)
            self._guessed.add(f"{found}.{group}")
        return found

    def remarks(self) -> Iterator[str]:
        if self._guessed:
            yield (
                f"guessed: {', '.join(sorted(self._guessed))}; compare with kubectl api-resources, "
                "or name a connection"
            )


def _defined(
    objects: Mapping[ObjectRef, KubernetesObject],
) -> Iterator[tuple[tuple[str, str], str]]:
    for ref, obj in objects.items():
        if (ref.group, ref.kind) == _DEFINITION:
            spec = obj.get("spec") or {}
            names = spec.get("names") or {}
            yield (str(spec.get("group")), str(names.get("kind"))), str(names.get("plural"))


def usual_plural(kind: str) -> str:
    """How the plurals of kinds are made; all of Kubernetes' own are so."""
    word = kind.lower()
    if word == "endpoints":
        return word
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"


# --- objects ------------------------------------------------------------------------------------


def _rules(verbs: Mapping[_Resource, set[str]]) -> Iterator[Mapping[str, Any]]:
    """What has the same group, names and verbs stands in one rule."""
    merged: dict[tuple[str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for resource in sorted(verbs):
        ordered = tuple(verb for verb in _VERBS if verb in verbs[resource])
        merged[resource.group, resource.name, ordered].append(resource.plural)
    for (group, name, ordered), plurals in merged.items():
        rule = {"apiGroups": [group], "resources": plurals, "verbs": list(ordered)}
        yield rule | ({"resourceNames": [name]} if name else {})


def _role(name: str, namespace: str, rules: Iterable[Mapping[str, Any]]) -> KubernetesObject:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "Role" if namespace else "ClusterRole",
        "metadata": metadata,
        "rules": list(rules),
    }


def _binding(role: KubernetesObject, subjects: Sequence[Mapping[str, str]]) -> KubernetesObject:
    reference = {"apiGroup": _RBAC, "kind": role["kind"], "name": role["metadata"]["name"]}
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{role['kind']}Binding",
        "metadata": role["metadata"],
        "roleRef": reference,
        "subjects": [dict(subject) for subject in subjects],
    }


def subject(text: str) -> Mapping[str, str]:
    """Of `user:ci`, `group:deployers` or `serviceaccount:NAMESPACE/NAME`. Raises ValueError."""
    kind, _, name = text.partition(":")
    namespace, slash, account = name.partition("/")
    if kind == "serviceaccount" and namespace and slash and account:
        return {"kind": "ServiceAccount", "namespace": namespace, "name": account}
    if kind in ("user", "group") and name:
        return {"apiGroup": _RBAC, "kind": kind.capitalize(), "name": name}
    raise ValueError(f"{text!r} is no subject")
