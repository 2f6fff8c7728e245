"""What a cluster says of itself and of us: asked once, for all targets there."""

from __future__ import annotations

import threading

from bundler.adapters.cluster.connection import KubernetesConnection
from bundler.adapters.cluster.discovery import Discovery
from bundler.adapters.cluster.errors import refusal
from bundler.errors import Refused

_SUBJECT = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class Known:
    """Shared by the targets that one connection leads to, and by their threads."""

    def __init__(self, connection: KubernetesConnection) -> None:
        self.discovery = Discovery(connection)
        self._connection = connection
        self._lock = threading.Lock()
        self._uid: str | None = None
        self._user: str | None = None

    def uid(self) -> str:
        """What identifies the cluster: the UID of its kube-system namespace.

        Raises PermissionRefused, Unreachable.
        """
        with self._lock:
            if self._uid is None:
                self._uid = cluster_uid(self._connection)
            return self._uid

    def expect(self, uid: str) -> None:
        """Raises Refused where it is another cluster."""
        if self.uid() != uid:
            raise Refused(
                f"{self._connection.server} is cluster {self.uid()}, and cluster {uid} is expected",
                hint="these are the UIDs of kube-system: correct the connection, or what is "
                "expected (targets.yaml, --cluster)",
            )

    def user(self) -> str | None:
        """Who we are there; None, and asked again the next time, where it does not say."""
        with self._lock:
            if self._user is None:
                self._user = _user(self._connection)
            return self._user


def cluster_uid(connection: KubernetesConnection) -> str:
    answer = connection.request("GET", "/api/v1/namespaces/kube-system")
    if not answer.is_ok:
        raise refusal(answer, "the cluster's identity cannot be read")
    return str(answer.document["metadata"]["uid"])


def _user(connection: KubernetesConnection) -> str | None:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = connection.request("POST", _SUBJECT, body=body)
    user = (answer.document.get("status") or {}).get("userInfo") or {} if answer.is_ok else {}
    return str(user["username"]) if user.get("username") else None
