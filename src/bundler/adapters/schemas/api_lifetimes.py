"""When Kubernetes' own APIs came, were deprecated and went: from the data of all its versions.

What went before the oldest of them is in a list, after Kubernetes' "Deprecated API Migration
Guide".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from bundler.adapters.schemas.definitions import Kind, definitions, versions
from bundler.model.finding import Finding

_NOT_APPLIED = re.compile(r"List$|Options$|Event$|Status$|Review$|^Binding$|^Eviction$|^Scale$")
_DEPRECATED = re.compile(r"Deprecated: This API is deprecated in v(1\.\d+)")
_REPLACED = {
    Kind("", "v1", "Endpoints"): "discovery.k8s.io/v1 EndpointSlice",
    Kind("policy", "v1beta1", "PodSecurityPolicy"): "Pod Security Admission",
    Kind("extensions", "v1beta1", "PodSecurityPolicy"): "Pod Security Admission",
}
"""Where the kind has another name now."""


class _Removal(NamedTuple):
    version: str
    """The first version of Kubernetes without them."""
    api_version: str
    kinds: str


_REMOVED_EARLIER = (
    _Removal("1.16", "extensions/v1beta1", "DaemonSet Deployment NetworkPolicy ReplicaSet"),
    _Removal("1.16", "extensions/v1beta1", "PodSecurityPolicy"),
    _Removal("1.16", "apps/v1beta1", "ControllerRevision Deployment StatefulSet"),
    _Removal("1.16", "apps/v1beta2", "ControllerRevision DaemonSet Deployment ReplicaSet"),
    _Removal("1.16", "apps/v1beta2", "StatefulSet"),
    _Removal("1.20", "settings.k8s.io/v1alpha1", "PodPreset"),
    _Removal("1.21", "batch/v2alpha1", "CronJob"),
    _Removal(
        "1.22",
        "admissionregistration.k8s.io/v1beta1",
        "MutatingWebhookConfiguration ValidatingWebhookConfiguration",
    ),
    _Removal("1.22", "apiextensions.k8s.io/v1beta1", "CustomResourceDefinition"),
    _Removal("1.22", "apiregistration.k8s.io/v1beta1", "APIService"),
    _Removal("1.22", "authentication.k8s.io/v1beta1", "TokenReview"),
    _Removal(
        "1.22",
        "authorization.k8s.io/v1beta1",
        "LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview "
        "SubjectAccessReview",
    ),
    _Removal("1.22", "certificates.k8s.io/v1beta1", "CertificateSigningRequest"),
    _Removal("1.22", "coordination.k8s.io/v1beta1", "Lease"),
    _Removal("1.22", "extensions/v1beta1", "Ingress"),
    _Removal("1.22", "networking.k8s.io/v1beta1", "Ingress IngressClass"),
    *(
        _Removal("1.22", f"rbac.authorization.k8s.io/{version}", kinds)
        for version in ("v1alpha1", "v1beta1")
        for kinds in ("ClusterRole ClusterRoleBinding Role RoleBinding",)
    ),
    _Removal("1.22", "scheduling.k8s.io/v1alpha1", "PriorityClass"),
    _Removal("1.22", "scheduling.k8s.io/v1beta1", "PriorityClass"),
    _Removal("1.22", "storage.k8s.io/v1beta1", "CSIDriver CSINode StorageClass VolumeAttachment"),
    _Removal("1.24", "node.k8s.io/v1alpha1", "RuntimeClass"),
    _Removal("1.24", "storage.k8s.io/v1alpha1", "CSIStorageCapacity VolumeAttachment"),
    _Removal("1.25", "autoscaling/v2beta1", "HorizontalPodAutoscaler"),
    _Removal("1.25", "batch/v1beta1", "CronJob"),
    _Removal("1.25", "discovery.k8s.io/v1beta1", "EndpointSlice"),
    _Removal("1.25", "events.k8s.io/v1beta1", "Event"),
    _Removal("1.25", "node.k8s.io/v1beta1", "RuntimeClass"),
    _Removal("1.25", "policy/v1beta1", "PodDisruptionBudget PodSecurityPolicy"),
)


def _earlier() -> Iterator[tuple[tuple[str, str], str]]:
    for removal in _REMOVED_EARLIER:
        for kind in removal.kinds.split():
            yield (removal.api_version, kind), removal.version


_EARLIER: Mapping[tuple[str, str], str] = dict(_earlier())
_OLD_GROUPS = frozenset({"extensions", "settings.k8s.io"})
"""Groups of Kubernetes' own that no version has any more."""


def is_known(kind: Kind) -> bool:
    """Whether a kind is one of Kubernetes' own, in whatever version."""
    if kind.group in _OLD_GROUPS:
        return True
    may_be = "." not in kind.group or kind.group.endswith(".k8s.io")
    return may_be and any(kind in definitions(version).kinds for version in versions())


def deprecated(version: str, kind: Kind) -> Finding | None:
    """That a kind which this version still has is on its way out; None where it is not."""
    later = _gone_after(version, kind)
    instead = _successor(later or version, kind)
    told = _DEPRECATED.search(_description(version, kind))
    if later:
        message = f"{kind} is removed in Kubernetes {later}"
    elif not kind.is_stable and any(k.is_stable for k in _same(version, kind)):
        message = f"{kind} is deprecated: the API has a stable version"
    elif told:
        message = f"{kind} is deprecated since Kubernetes {told[1]}"
    else:
        return None
    return Finding("deprecated-api", message, "warning", pointer="/apiVersion", hint=instead)


def absent(version: str, kind: Kind) -> Finding:
    """Why this version has not a kind of Kubernetes' own groups: gone, to come, or misspelt."""
    single = kind._replace(kind=kind.kind.removesuffix("List"))
    known = [each for each in versions() if kind in definitions(each).kinds]
    gone = _EARLIER.get((single.api_version, single.kind)) if not known else None
    instead = _successor(version, single)
    if known and versions().index(version) < versions().index(known[0]):
        message = f"Kubernetes {version} has no {kind}: it comes with {known[0]}"
        return Finding("unknown-kind", message, pointer="/apiVersion", hint=instead)
    if known or gone:
        gone = gone or _gone_after(known[-1], kind)
        message = f"Kubernetes {version} has no {kind}: it was removed in {gone}"
        return Finding("removed-api", message, pointer="/apiVersion", hint=instead)
    message = f"no known version of Kubernetes has {kind}"
    return Finding(
        "unknown-kind", message, pointer="/kind", hint=instead or _nearest(version, kind)
    )


def _gone_after(version: str, kind: Kind) -> str | None:
    """The first later version without a kind; what is stable stays."""
    if kind.is_stable:
        return None
    later = versions()[versions().index(version) + 1 :]
    return next((each for each in later if kind not in definitions(each).kinds), None)


def _successor(version: str, kind: Kind) -> str | None:
    """What to write instead where a version has the kind under another apiVersion or name."""
    replaced = _REPLACED.get(kind)
    if replaced:
        return f"use {replaced}"
    others = [k for k in definitions(version).kinds if k.kind == kind.kind and k != kind]
    newest = [k for k in others if k.group == kind.group and k.age > kind.age] or others
    return f"use apiVersion {newest[-1].api_version}" if newest else None


def _same(version: str, kind: Kind) -> Sequence[Kind]:
    """The API versions of a kind in its own group."""
    key = (kind.group, kind.kind)
    return [k for k in definitions(version).kinds if (k.group, k.kind) == key]


def _description(version: str, kind: Kind) -> str:
    found = definitions(version)
    return str(found.schemas[found.kinds[kind]].get("description", ""))


def _nearest(version: str, kind: Kind) -> str | None:
    by_kind = {k.kind: k for k in definitions(version).kinds if not _NOT_APPLIED.search(k.kind)}
    close = get_close_matches(kind.kind, by_kind, n=1)
    return f"did you mean {by_kind[close[0]]}?" if close else None
