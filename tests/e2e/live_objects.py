"""What stands in a namespace of the control plane, and what happens there meanwhile."""

from __future__ import annotations

import json
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tools.control_plane import ControlPlane

Object = dict[str, Any]
Status = Callable[[], tuple[str | None, str, str]]
Untouched = Callable[[], bool]
APPS, CORE, BATCH = "/apis/apps/v1", "/api/v1", "/apis/batch/v1"
LEASES, RBAC = "/apis/coordination.k8s.io/v1", "/apis/rbac.authorization.k8s.io/v1"
OWNED = "app.kubernetes.io/managed-by=bundler,!release-bundler/state"
_COLLECTIONS = (
    (CORE, ("configmaps", "secrets", "services", "serviceaccounts", "persistentvolumeclaims")),
    (APPS, ("deployments", "statefulsets", "daemonsets")),
    (BATCH, ("jobs", "cronjobs")),
    (RBAC, ("roles", "rolebindings")),
    ("/apis/networking.k8s.io/v1", ("ingresses", "networkpolicies")),
    ("/apis/policy/v1", ("poddisruptionbudgets",)),
    ("/apis/autoscaling/v2", ("horizontalpodautoscalers",)),
)
_SERVER_METADATA = (
    "managedFields", "resourceVersion", "uid", "creationTimestamp", "generation",
)  # fmt: skip
_OF_CONTROLLERS = ("deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation")


@dataclass(frozen=True)
class Namespace:
    """One namespace, read as admin."""

    control_plane: ControlPlane
    name: str

    def path(self, prefix: str, *parts: str) -> str:
        return "/".join([prefix, "namespaces", self.name, *parts])

    def listed(self, prefix: str, plural: str, selector: str = "") -> list[Object]:
        query = f"?labelSelector={selector}" if selector else ""
        found = self.control_plane.request("GET", self.path(prefix, plural) + query)
        return list(found["items"])

    def get(self, prefix: str, plural: str, name: str) -> Object:
        return self.control_plane.request("GET", self.path(prefix, plural, name))

    def has(self, prefix: str, plural: str, name: str) -> bool:
        return self.control_plane.has(self.path(prefix, plural, name))

    def owned(self) -> dict[str, Object]:
        """All that is labelled as ours, as the server has it: `plural/name` → object."""
        return {
            f"{plural}/{each['metadata']['name']}": each
            for prefix, plurals in _COLLECTIONS
            for plural in plurals
            for each in self.listed(prefix, plural, OWNED)
        }

    def state(self) -> dict[str, Object]:
        """What `owned` has, without what is another each time that an object is made."""
        return {
            name: _without_identity(name, json.loads(json.dumps(each)))
            for name, each in self.owned().items()
        }

    def identities(self) -> dict[str, tuple[str, int]]:
        """UID and generation of everything that is ours, and of all pods."""
        pods = {f"pods/{pod['metadata']['name']}": pod for pod in self.listed(CORE, "pods")}
        return {
            name: (each["metadata"]["uid"], each["metadata"].get("generation", 0))
            for name, each in (self.owned() | pods).items()
        }

    def revisions(self) -> list[Object]:
        """The recorded revisions, oldest first."""
        found = self.listed(CORE, "configmaps", "release-bundler/state=revision")
        revisions = [json.loads(each["data"]["revision"]) for each in found]
        return sorted(revisions, key=lambda revision: int(revision["number"]))

    def lock_holder(self) -> str:
        leases = self.listed(LEASES, "leases")
        return "".join(each["spec"].get("holderIdentity") or "" for each in leases)

    def expire_lock(self) -> None:
        """Let the lock of a killed holder be over at once, not in half a minute."""
        [lease] = self.listed(LEASES, "leases")
        self.patch(LEASES, "leases", lease["metadata"]["name"], spec={"leaseDurationSeconds": 1})

    def patch(self, prefix: str, plural: str, name: str, **changed: Any) -> None:
        """Change a few fields (RFC 7386), as somebody else than bundler."""
        self.control_plane.request(
            "PATCH",
            self.path(prefix, plural, name),
            changed,
            content_type="application/merge-patch+json",
        )

    @contextmanager
    def watched(self, prefix: str, plural: str) -> Iterator[list[Object]]:
        """Every object of a collection as a watch tells it inside `with`: a growing list."""
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(
                context=ssl.create_default_context(cafile=str(self.control_plane.ca))
            ),
        )
        url = f"{self.control_plane.server}{self.path(prefix, plural)}?watch=true&resourceVersion="
        headers = {"Authorization": f"Bearer {self.control_plane.token}"}
        listed = self.control_plane.request("GET", self.path(prefix, plural))
        seen: list[Object] = []
        over = threading.Event()

        def follow() -> None:
            version = listed["metadata"]["resourceVersion"]
            while not over.is_set():
                if seen:  # go on where the last connection ended, so that nothing is missed
                    version = seen[-1]["metadata"]["resourceVersion"]
                request = urllib.request.Request(url + version, headers=headers)  # noqa: S310
                with suppress(TimeoutError), opener.open(request, timeout=1) as stream:
                    seen.extend(json.loads(line)["object"] for line in stream)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()


def until(is_so: Callable[[], Any], waiting_for: str, seconds: float = 60) -> None:
    """Look as often as it goes until something is so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {waiting_for}"
        time.sleep(0.01)


def _without_identity(name: str, obj: Object) -> Object:
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    for key in _SERVER_METADATA:
        metadata.pop(key, None)
    for key in _OF_CONTROLLERS:
        (metadata.get("annotations") or {}).pop(key, None)
    obj.pop("status", None)
    if name.startswith("services/"):
        for key in ("clusterIP", "clusterIPs"):
            spec.pop(key, None)
    if name.startswith("jobs/"):
        spec.pop("selector", None)
        for labels in (metadata.get("labels") or {}, spec["template"]["metadata"]["labels"]):
            for key in [key for key in labels if key.endswith("controller-uid")]:
                del labels[key]
    return obj
