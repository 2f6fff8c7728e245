"""What an account may do, in few questions: the rules of a namespace answer for all of its objects.

Sources: SelfSubjectRulesReview and SelfSubjectAccessReview of authorization.k8s.io/v1. Rules only
grant; where an authorizer cannot list its rules the answer is `incomplete`, and what is not among
them is asked for one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bundler.adapters.cluster.connection import KubernetesConnection
from bundler.adapters.cluster.discovery import Discovery, Resource
from bundler.adapters.cluster.errors import refusal
from bundler.adapters.cluster.pools import CONNECTIONS
from bundler.parallel import threads
from bundler.ports import Need

_GROUP = "authorization.k8s.io/v1"
_ALL = "*"


class _Rules(NamedTuple):
    """What may be done in a namespace."""

    granted: Sequence[Mapping[str, Any]]
    is_complete: bool

    def grants(self, verb: str, resource: Resource) -> bool:
        return any(
            not rule.get("resourceNames")
            and _has(rule.get("verbs"), verb)
            and _has(rule.get("apiGroups"), resource.group)
            and _has(rule.get("resources"), resource.plural)
            for rule in self.granted
        )


class KubernetesPermissions:
    def __init__(self, connection: KubernetesConnection, discovery: Discovery) -> None:
        self._connection = connection
        self._discovery = discovery

    def missing(self, needs: Iterable[Need]) -> tuple[Need, ...]:
        """See `bundler.ports.PermissionReader`."""
        served = {need: self._discovery.find(need.group, need.kind) for need in sorted(set(needs))}
        known = {need: resource for need, resource in served.items() if resource}
        places = {need: _namespace(need, resource) for need, resource in known.items()}
        namespaces = sorted(set(places.values()) - {""})
        with threads(CONNECTIONS) as pool:
            rules = dict(zip(namespaces, pool.map(self._rules, namespaces), strict=True))
            refused, open_ = [], []
            for need, resource in known.items():
                found = rules.get(places[need])
                if found is None or not (found.is_complete or found.grants(need.verb, resource)):
                    open_.append(need)
                elif not found.grants(need.verb, resource):
                    refused.append(need)
            if len(open_) > 1 and self._is_allowed({"verb": _ALL, "group": _ALL, "resource": _ALL}):
                open_ = []
            asked = [_attributes(need, known[need], places[need]) for need in open_]
            answers = list(pool.map(self._is_allowed, asked))
        refused += [need for need, yes in zip(open_, answers, strict=True) if not yes]
        return tuple(sorted(refused))

    def _rules(self, namespace: str) -> _Rules:
        status = self._ask("SelfSubjectRulesReview", {"namespace": namespace})
        return _Rules(status.get("resourceRules") or (), not status.get("incomplete"))

    def _is_allowed(self, attributes: Mapping[str, str]) -> bool:
        status = self._ask("SelfSubjectAccessReview", {"resourceAttributes": attributes})
        return bool(status.get("allowed"))

    def _ask(self, kind: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._connection.request(
            "POST",
            f"/apis/{_GROUP}/{kind.lower()}s",
            body={"apiVersion": _GROUP, "kind": kind, "spec": spec},
        )
        if not answer.is_ok:
            raise refusal(answer, "our permissions cannot be asked for")
        return answer.document.get("status") or {}


def _has(listed: Any, wanted: str) -> bool:
    return bool(listed) and (_ALL in listed or wanted in listed)


def _namespace(need: Need, resource: Resource) -> str:
    return need.namespace if resource.is_namespaced else ""


def _attributes(need: Need, resource: Resource, namespace: str) -> Mapping[str, str]:
    attributes = {"verb": need.verb, "group": need.group, "resource": resource.plural}
    named = {"name": need.name} if need.name else {}
    return attributes | named | ({"namespace": namespace} if namespace else {})
