"""Applies of small releases to the control plane, through an ApiProxy, and what must be true.

No object has pods: what takes time here is the requests alone.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bundler.adapters.cluster.connection import KubernetesConnection, connect
from bundler.adapters.cluster.kubernetes_cluster import KubernetesCluster
from bundler.adapters.registry.registries import Registries
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.deploy.flow import apply_to_target
from bundler.deploy.limits import Limits
from bundler.deploy.pull import pull
from bundler.deploy.result import Runner, TargetResult
from bundler.deploy.verify import verify
from bundler.model.bundle import VerifiedBundle
from bundler.model.reference import ArtifactReference
from bundler.model.revision import Who
from tests.e2e.live_objects import CORE, LEASES, Namespace, Object
from tests.e2e.releases import Releases, config_map, deployment, made, service
from tests.faults.api_proxy import ApiProxy
from tests.faults.processes import Started, start
from tools.control_plane import ControlPlane

SEED = int(os.environ.get("FAULT_SEED", "0"))
FULL = bool(os.environ.get("FULL"))
"""Every moment, for whoever has the time; else some of them, by lot."""
V1, V2, V3 = "v1.0.0", "v1.1.0", "v1.2.0"
Moment = TypeVar("Moment")
RELEASES = {
    V1: (
        config_map("settings", colour="red"),
        config_map("old"),
        service("cart", 80),
        deployment("cart", "cart:1", replicas=0),
        deployment("old-search", "search:1", replicas=0),
    ),
    V2: (
        config_map("settings", colour="blue"),
        config_map("features", fast="yes"),
        service("cart", 80),
        made("v1", "ServiceAccount", "search"),
        deployment("cart", "cart:2", replicas=0),
        deployment("search", "search:1", replicas=0),
    ),
    V3: (config_map("settings", colour="blue"), service("cart", 80)),
}


def sample(moments: list[Moment], size: int, what: str) -> list[Moment]:
    """Some of them by lot, in their order; all where there is time."""
    if FULL or len(moments) <= size:
        return moments
    drawn = random.Random(f"{SEED} {what}").sample(range(len(moments)), size)  # noqa: S311
    return [moments[index] for index in sorted(drawn)]


@dataclass(frozen=True)
class Shop:
    """What is published, once for all trials: the namespace is that of the trial."""

    control_plane: ControlPlane
    folder: Path

    @contextmanager
    def trial(self, **releases: tuple[Object, ...]) -> Iterator[Trial]:
        """A namespace that is not there yet, with the releases for it."""
        name = f"trial-{secrets.token_hex(4)}"
        folder = self.folder / name
        published = Releases(folder / "registry", {"default": name})
        for tag, objects in (releases or RELEASES).items():
            published.publish(tag, *objects)
        trial = Trial(Namespace(self.control_plane, name), published, folder)
        try:
            yield trial
        finally:
            if self.control_plane.has(f"/api/v1/namespaces/{name}"):
                self.control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


@dataclass(frozen=True)
class Trial:
    place: Namespace
    releases: Releases
    folder: Path

    def start(
        self, tag: str, through: ApiProxy, *options: object, lease: int | None = None
    ) -> Started:
        """An apply as a process."""
        return self.run(
            through, "apply", self.releases(tag), "--env", "stage", *options, lease=lease
        )

    def run(self, through: ApiProxy, *command: object, lease: int | None = None) -> Started:
        connection = ("--kubeconfig", through.kubeconfig(self.folder))
        return start(self.folder, *command, "--yes", "-o", "json", *connection, lease=lease)

    def bundle(self, tag: str) -> VerifiedBundle:
        reference = ArtifactReference.parse(self.releases(tag))
        return verify(pull(Registries(self.folder), reference, DocumentSchemas()))

    def cluster(self, connection: KubernetesConnection) -> KubernetesCluster:
        return KubernetesCluster(
            connection,
            project="shop",
            environment="stage",
            target="default",
            namespace=self.place.name,
        )

    def apply(
        self, tag: str, over: KubernetesConnection | None = None, *, timeout: float = 60
    ) -> TargetResult:
        """An apply in this process: undisturbed, if no other connection is given."""
        if over is None:
            with connect(kubeconfig=self.place.control_plane.kubeconfig) as direct:
                return self.apply(tag, direct, timeout=timeout)
        return apply_to_target(
            self.bundle(tag), "stage", "default", self.cluster(over), _runner(timeout)
        )

    def applied(self, tag: str) -> TargetResult:
        result = self.apply(tag)
        assert result.error is None, result.error
        return result

    # --- what must be true ----------------------------------------------------------------------

    def owner(self) -> str:
        return "shop/stage/default"

    def owned(self) -> dict[str, Object]:
        return {
            name: each
            for name, each in self.place.owned().items()
            if each["metadata"]["annotations"].get("release-bundler/owner") == self.owner()
        }

    def inventory(self) -> set[str]:
        """`Kind/name` of what is recorded."""
        heads = self.place.listed(CORE, "configmaps", "release-bundler/state=inventory")
        return {
            f"{entry['kind']}/{entry['name']}"
            for head in heads
            for entry in json.loads(head["data"]["inventory"])["objects"]
        }

    def check_inventory(self) -> None:
        """Whatever is ours is recorded."""
        owned = {f"{each['kind']}/{name.split('/')[1]}" for name, each in self.kinds().items()}
        assert owned <= self.inventory(), f"not recorded: {owned - self.inventory()}"

    def kinds(self) -> dict[str, Object]:
        """What is ours, with the kinds that lists leave out."""
        return {
            name: {"kind": _KINDS[name.split("/")[0]], **each}
            for name, each in self.owned().items()
        }

    def end_state(self) -> Mapping[str, Any]:
        """What an undisturbed run would come to as well."""
        text = json.dumps(self.place.state()).replace(self.place.name, "here")
        current = [each for each in self.place.revisions() if each["status"] == "succeeded"]
        return {
            "objects": json.loads(text),
            "inventory": self.inventory(),
            "current": current[-1]["tag"] if current else None,
            "latest": self.place.revisions()[-1]["tag"],
            "pending": [r["number"] for r in self.place.revisions() if r["status"] == "pending"],
            "lock": self.place.lock_holder(),
        }

    def uids(self) -> dict[str, str]:
        return {name: each["metadata"]["uid"] for name, each in self.owned().items()}

    def free_lock(self) -> None:
        """As an operator may who knows that the holder is dead; else it expires by itself."""
        for each in self.place.listed(LEASES, "leases"):
            self.place.patch(
                LEASES, "leases", each["metadata"]["name"], spec={"holderIdentity": ""}
            )


_KINDS = {
    "configmaps": "ConfigMap",
    "services": "Service",
    "deployments": "Deployment",
    "serviceaccounts": "ServiceAccount",
    "jobs": "Job",
}


def _runner(timeout: float) -> Runner:
    return Runner(
        who=Who(claimed="somebody"),
        holder=f"somebody {secrets.token_hex(4)}",
        clock=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        monotonic=time.monotonic,
        on_plan=lambda _: True,
        limits=Limits(timeout=timeout),
    )


def undisturbed(shop: Shop, *tags: str) -> Mapping[str, Any]:
    """What these releases come to, one after the other."""
    with shop.trial() as trial:
        for tag in tags:
            trial.applied(tag)
        return trial.end_state()
