"""What a rule is given: one target's objects, and what they are to each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bundler.model.bundle import RenderedTarget
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject, ObjectRef, mapping, split_api_version
from bundler.model.rules import RULES
from bundler.publish.placement import file_of, workload_service
from bundler.publish.rules.workloads import Workload, at, whole, workload

_KEDA = "keda.sh"


@dataclass(frozen=True)
class Autoscaler:
    obj: KubernetesObject
    group: str | None
    """Of the workload that it scales; None where it does not say."""
    fewest: int
    """The number of pods that it leaves at least."""


@dataclass(frozen=True)
class Scope:
    """A target's objects; `services` maps a pinned image string to its service."""

    target: RenderedTarget
    services: Mapping[str, str]
    former: Sequence[KubernetesObject] = ()
    """The objects of this target in the release before, as far as they are known."""

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        found = (workload(obj) for obj in self.target.objects)
        return tuple(each for each in found if each is not None)

    def of_kind(self, group: str, *kinds: str) -> list[tuple[ObjectRef, KubernetesObject]]:
        return [(ref, obj) for ref, obj in self._by_group.get(group, ()) if ref.kind in kinds]

    @cached_property
    def _by_group(self) -> Mapping[str, list[tuple[ObjectRef, KubernetesObject]]]:
        grouped: dict[str, list[tuple[ObjectRef, KubernetesObject]]] = {}
        for obj in self.target.objects:
            ref = ObjectRef.of(obj)
            grouped.setdefault(ref.group, []).append((ref, obj))
        return grouped

    @cached_property
    def selecting(self) -> tuple[tuple[KubernetesObject, Workload], ...]:
        """Each Service that sends requests to pods, with each workload that it selects."""
        return tuple(
            (obj, each)
            for ref, obj in self.of_kind("", "Service")
            if at(obj, "spec", "type") != "ExternalName"
            for each in self._selected(ref.namespace, mapping(at(obj, "spec", "selector")))
        )

    def _selected(self, namespace: str, wanted: Mapping[str, Any]) -> Iterator[Workload]:
        labels = {key: str(value) for key, value in wanted.items()}
        with_each = [self._by_label.get((namespace, *label), []) for label in labels.items()]
        for each in min(with_each, key=len, default=[]):
            if labels.items() <= each.labels.items():
                yield each

    @cached_property
    def _by_label(self) -> Mapping[tuple[str, str, str], list[Workload]]:
        found: dict[tuple[str, str, str], list[Workload]] = {}
        for each in self.workloads:
            for key, value in each.labels.items() if each.serves else ():
                found.setdefault((each.ref.namespace, key, value), []).append(each)
        return found

    def is_served(self, each: Workload) -> bool:
        """Whether a Service sends requests to its pods."""
        return each.ref in self._served

    @cached_property
    def _served(self) -> frozenset[ObjectRef]:
        return frozenset(each.ref for _, each in self.selecting)

    def autoscaler(self, ref: ObjectRef) -> Autoscaler | None:
        """The HorizontalPodAutoscaler or ScaledObject that scales a workload."""
        found = self._autoscalers.get((ref.kind, ref.namespace, ref.name), ())
        return next((each for each in found if each.group in (None, ref.group)), None)

    @cached_property
    def _autoscalers(self) -> Mapping[tuple[str, str, str], list[Autoscaler]]:
        found: dict[tuple[str, str, str], list[Autoscaler]] = {}
        for group, kind in (("autoscaling", "HorizontalPodAutoscaler"), (_KEDA, "ScaledObject")):
            for ref, obj in self.of_kind(group, kind):
                scaled = mapping(at(obj, "spec", "scaleTargetRef"))
                place = (str(scaled.get("kind", "Deployment")), ref.namespace)
                found.setdefault((*place, str(scaled.get("name"))), []).append(_autoscaler(obj))
        return found

    def finding(
        self,
        rule: str,
        obj: KubernetesObject,
        pointer: str,
        message: str,
        hint: str | None = None,
        container: Mapping[str, Any] | None = None,
    ) -> Finding:
        """A finding with all that is known of its place; the service is the container's."""
        ref = ObjectRef.of(obj)
        image = container.get("image") if container else None
        service = self.services.get(image) if isinstance(image, str) else None
        severity = RULES[rule].protected
        return Finding(
            rule,
            message,
            "warning" if severity == "ignore" else severity,
            file=file_of(self.target.place, obj),
            pointer=pointer,
            object=str(ref),
            service=service or workload_service(obj, self.services),
            environment=self.target.place,
            hint=hint,
        )


def _autoscaler(obj: KubernetesObject) -> Autoscaler:
    is_keda = ObjectRef.of(obj).group == _KEDA
    version = at(obj, "spec", "scaleTargetRef", "apiVersion") or ("apps/v1" if is_keda else None)
    fewest = at(obj, "spec", "minReplicaCount" if is_keda else "minReplicas")
    return Autoscaler(
        obj,
        split_api_version(str(version))[0] if version else None,
        whole(fewest, 0 if is_keda else 1),
    )
