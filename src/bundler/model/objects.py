"""Kubernetes objects as plain data: their names, where they belong, when they are applied."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard, cast

from bundler.model.finding import json_pointer, pointer_steps
from bundler.model.reference import ImageReference

KubernetesObject = Mapping[str, Any]
"""A parsed manifest: apiVersion, kind, metadata and the rest. Never changed in place."""

PART_OF = "app.kubernetes.io/part-of"
MANAGED_BY = "app.kubernetes.io/managed-by"
ENVIRONMENT = "release-bundler/environment"
COMMIT = "release-bundler/commit"
OWNER = "release-bundler/owner"
WAVE = "release-bundler/wave"
"""Annotation: the wave that an object is applied in, where that does not follow from its kind."""
WEIGHT = "release-bundler/weight"
"""Annotation: of objects in one wave, those with a lower number come first; 0 without it."""
SECRETS = "release-bundler/secrets"
"""Annotation of pods: digest of the encrypted values that they use; new ones restart them."""
PRUNE = "release-bundler/prune"
"""Annotation: with `keep` an object is not deleted when the release has it no longer."""
HELM_RESOURCE_POLICY = "helm.sh/resource-policy"
HELM_RELEASE = "meta.helm.sh/release-name"
HELM_NAMESPACE = "meta.helm.sh/release-namespace"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
FIELD_MANAGER = "bundler"

CLUSTER_SCOPED = frozenset(
    {
        ("", "Namespace"),
        ("", "Node"),
        ("", "PersistentVolume"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "APIService"),
        ("certificates.k8s.io", "CertificateSigningRequest"),
        ("certificates.k8s.io", "ClusterTrustBundle"),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
        ("networking.k8s.io", "IPAddress"),
        ("networking.k8s.io", "IngressClass"),
        ("networking.k8s.io", "ServiceCIDR"),
        ("node.k8s.io", "RuntimeClass"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("resource.k8s.io", "DeviceClass"),
        ("resource.k8s.io", "ResourceSlice"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("storage.k8s.io", "CSIDriver"),
        ("storage.k8s.io", "CSINode"),
        ("storage.k8s.io", "StorageClass"),
        ("storage.k8s.io", "VolumeAttachment"),
        ("storage.k8s.io", "VolumeAttributesClass"),
    }
)
"""(group, kind) of the built-in kinds that have no namespace."""

BUILT_IN_GROUPS = frozenset(group for group, _ in CLUSTER_SCOPED) | {
    "apps", "autoscaling", "batch", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io",
    "policy",
}  # fmt: skip
"""API groups of Kubernetes' own kinds."""

WAVES = ("namespaces", "configuration", "jobs", "workloads", "afterwards")
"""The order of an apply; deletions come after the last wave."""

_FIRST = {("", "Namespace"), ("apiextensions.k8s.io", "CustomResourceDefinition")}
_CONFIGURATION = {
    ("", "ConfigMap"),
    ("", "Secret"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("", "LimitRange"),
    ("", "ResourceQuota"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("networking.k8s.io", "IngressClass"),
    ("node.k8s.io", "RuntimeClass"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttributesClass"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
}
_POD_TEMPLATES = {
    ("", "Pod"): ("spec",),
    ("", "PodTemplate"): ("template", "spec"),
    ("", "ReplicationController"): ("spec", "template", "spec"),
    ("apps", "Deployment"): ("spec", "template", "spec"),
    ("apps", "DaemonSet"): ("spec", "template", "spec"),
    ("apps", "ReplicaSet"): ("spec", "template", "spec"),
    ("apps", "StatefulSet"): ("spec", "template", "spec"),
    ("batch", "Job"): ("spec", "template", "spec"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template", "spec"),
}

_BY_DIGEST = re.compile(r"(?P<prefix>[^\s=]+=)?(?P<image>[^\s=]+@sha256:[0-9a-f]{64})")


HASH_SUFFIX = re.compile(r"-[2456789bcdfghkmt]{10}\Z")
"""How kustomize ends names of what it generates (api/hasher: no vowels, no look-alikes)."""


class ObjectRef(NamedTuple):
    """What names an object in a cluster, whatever the version of its API; sorts as files do."""

    group: str
    kind: str
    namespace: str
    """Empty for cluster-scoped objects."""
    name: str

    @classmethod
    def of(cls, obj: KubernetesObject) -> ObjectRef:
        metadata = obj.get("metadata") or {}
        group, _ = split_api_version(str(obj.get("apiVersion", "")))
        return cls(
            group,
            str(obj.get("kind", "")),
            str(metadata.get("namespace") or ""),
            str(metadata.get("name") or ""),
        )

    @property
    def is_cluster_scoped(self) -> bool:
        return (self.group, self.kind) in CLUSTER_SCOPED

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


class ImageUse(NamedTuple):
    """An image string in an object."""

    pointer: str
    """JSON pointer to the string."""
    image: str
    prefix: str = ""
    """What stands before the image in the string, such as `--image=`."""


def mapping(value: object) -> Mapping[str, Any]:
    """What should be a mapping, in what nobody has checked; an empty one where it is none."""
    return value if isinstance(value, Mapping) else {}


def split_api_version(api_version: str) -> tuple[str, str]:
    """`apps/v1` → (`apps`, `v1`); `v1` → (``, `v1`)."""
    group, slash, version = api_version.rpartition("/")
    return (group if slash else "", version)


def owner_of(obj: KubernetesObject) -> str | None:
    """The `project/environment/target` that an object belongs to; None where none is said."""
    owner = ((obj.get("metadata") or {}).get("annotations") or {}).get(OWNER)
    return str(owner) if owner else None


def owned(obj: KubernetesObject, project: str, environment: str, target: str) -> KubernetesObject:
    """With our labels and owner, on its own metadata only: pods and selectors stay as they are."""
    metadata = obj["metadata"]
    labels = {
        **(metadata.get("labels") or {}),
        PART_OF: project,
        MANAGED_BY: FIELD_MANAGER,
        ENVIRONMENT: environment,
    }
    owner = {OWNER: f"{project}/{environment}/{target}"}
    annotations = {**(metadata.get("annotations") or {}), **owner}
    return {**obj, "metadata": {**metadata, "labels": labels, "annotations": annotations}}


def wave_of(ref: ObjectRef) -> str:
    """The wave that an object of this kind is applied in.

    What others need comes early; whatever is unknown comes with the workloads, where all else is.
    """
    key = (ref.group, ref.kind)
    if key in _FIRST:
        return "namespaces"
    if key in _CONFIGURATION:
        return "configuration"
    if key == ("batch", "Job"):
        return "jobs"
    return "workloads"


class Step(NamedTuple):
    """When an object is applied; steps are taken one after the other, in their order."""

    wave: int
    """Index in WAVES."""
    weight: int

    @classmethod
    def of(cls, obj: KubernetesObject) -> Step:
        """As its annotations say, else as its kind does. What they say wrongly does not count."""
        annotations = (obj.get("metadata") or {}).get("annotations") or {}
        wave, weight = annotations.get(WAVE), annotations.get(WEIGHT)
        if wave not in WAVES:
            wave = wave_of(ObjectRef.of(obj))
        return cls(WAVES.index(wave), int(weight) if is_weight(weight) else 0)

    @property
    def name(self) -> str:
        return WAVES[self.wave]


def is_weight(text: object) -> TypeGuard[str]:
    return isinstance(text, str) and re.fullmatch(r"[+-]?[0-9]{1,9}", text) is not None


def pod_spec(obj: KubernetesObject) -> tuple[str, Mapping[str, Any]] | None:
    """JSON pointer and value of the pod spec in a workload; None for every other kind."""
    ref = ObjectRef.of(obj)
    path = _POD_TEMPLATES.get((ref.group, ref.kind))
    value: Any = obj
    for step in path or ():
        value = value.get(step) if isinstance(value, Mapping) else None
    if path is None or not isinstance(value, Mapping):
        return None
    return "/" + "/".join(path), value


def images_in(obj: KubernetesObject) -> Iterator[ImageUse]:
    """Every image that a workload runs or mounts: containers of all sorts, and image volumes."""
    found = pod_spec(obj)
    if found is None:
        return
    pointer, spec = found
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in _items(spec.get(field)):
            if isinstance(container.get("image"), str):
                yield ImageUse(f"{pointer}/{field}/{index}/image", container["image"])
    for index, volume in _items(spec.get("volumes")):
        image = volume.get("image")
        if isinstance(image, Mapping) and isinstance(image.get("reference"), str):
            yield ImageUse(f"{pointer}/volumes/{index}/image/reference", image["reference"])


def images_written_in(obj: KubernetesObject) -> Iterator[ImageUse]:
    """Those that a workload runs or mounts, and every other string with an image's digest.

    Custom resources, environment variables and arguments hold images too; what was published has
    them by digest, which nothing else looks like.
    """
    known = set()
    for use in images_in(obj):
        known.add(use.pointer)
        yield use
    for pointer, text in texts_in(obj):
        match = _BY_DIGEST.fullmatch(text) if pointer not in known else None
        if match:
            yield ImageUse(pointer, match["image"], match["prefix"] or "")


def texts_in(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """(JSON pointer, text) of every string in a value."""
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from texts_in(inner, pointer + json_pointer(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from texts_in(inner, f"{pointer}/{index}")


def with_text(obj: KubernetesObject, pointer: str, text: str) -> KubernetesObject:
    """The object with other text at a JSON pointer; what is not on the way to it is shared."""
    return cast("KubernetesObject", _with_text(obj, pointer_steps(pointer), text))


def _with_text(value: Any, steps: list[str], text: str) -> Any:
    if not steps:
        return text
    step, rest = steps[0], steps[1:]
    if isinstance(value, list):
        index = int(step)
        return [*value[:index], _with_text(value[index], rest, text), *value[index + 1 :]]
    return {**value, step: _with_text(value[step], rest, text)}


def image_name(image: str) -> str:
    """The name part of an image string, also of one that is no valid reference."""
    try:
        return ImageReference.parse(image).name
    except ValueError:
        return image.partition("@")[0]


def _items(value: object) -> Iterable[tuple[int, Mapping[str, Any]]]:
    items = enumerate(value) if isinstance(value, list) else ()
    return [(index, item) for index, item in items if isinstance(item, Mapping)]
