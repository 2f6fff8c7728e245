"""A Kubernetes cluster as the target of a deploy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

from bundler.adapters.cluster.connection import KubernetesConnection
from bundler.adapters.cluster.discovery import Discovery
from bundler.adapters.cluster.errors import refusal
from bundler.adapters.cluster.lease import KubernetesLease
from bundler.adapters.cluster.objects import KubernetesObjects
from bundler.adapters.cluster.permissions import KubernetesPermissions
from bundler.adapters.cluster.state import KubernetesState, Place
from bundler.adapters.cluster.watch import KubernetesWatcher
from bundler.model.connection import Identity
from bundler.model.inventory import Inventory
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.revision import Revision, TargetState
from bundler.ports import Holder, Need, ObjectWatcher

_SUBJECT = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class KubernetesCluster:
    """A namespace of a cluster as a target; implements `bundler.ports.DeployTarget`.

    Namespaced objects that name no namespace belong to `namespace`. The state and the lock lie
    there too, or in `state_namespace`. `lock_timeout` is how long a lock that somebody holds is
    waited for once he shows that he lives; `tell` takes remarks for whoever applies. Everything
    that changes the cluster raises Locked once the lock was lost. `expected` is the UID that the
    cluster was named by, and was found to have.
    """

    def __init__(
        self,
        connection: KubernetesConnection,
        *,
        project: str,
        environment: str,
        target: str,
        namespace: str,
        state_namespace: str | None = None,
        lock_timeout: float = 0.0,
        tell: Callable[[str], None] = lambda _: None,
        expected: str | None = None,
    ) -> None:
        place = Place(project, environment, target)
        kept_in = state_namespace or namespace
        self._connection = connection
        self._identity = Identity("cluster", expected, is_expected=True) if expected else None
        self._discovery = Discovery(connection)
        self._permissions = KubernetesPermissions(connection, self._discovery)
        self._lease = KubernetesLease(
            connection,
            namespace=kept_in,
            name=place.stem,
            labels=place.labels,
            timeout=lock_timeout,
            tell=tell,
        )
        self._state = KubernetesState(
            connection, place, namespace=kept_in, before_write=self._lease.check, tell=tell
        )
        self._objects = KubernetesObjects(
            connection, self._discovery, namespace=namespace, before_write=self._lease.check
        )
        self._watcher = KubernetesWatcher(connection, self._discovery)

    # --- objects --------------------------------------------------------------------------------

    def live(self, wanted: Mapping[ObjectRef, str]) -> Mapping[ObjectRef, KubernetesObject]:
        return self._objects.live(wanted)

    def apply(self, obj: KubernetesObject, *, dry_run: bool = False) -> KubernetesObject:
        return self._objects.apply(obj, dry_run=dry_run)

    def delete(self, ref: ObjectRef, uid: str) -> None:
        self._objects.delete(ref, uid)

    @property
    def watcher(self) -> ObjectWatcher | None:
        return self._watcher

    @property
    def keeps_encrypted(self) -> bool:
        return False

    def identity(self) -> Identity:
        if self._identity is None:
            self._identity = Identity("cluster", cluster_uid(self._connection))
        return self._identity

    # --- who we are -----------------------------------------------------------------------------

    def missing(self, needs: Iterable[Need]) -> tuple[Need, ...]:
        """Kinds that the cluster does not serve yet cannot be asked about and are left out."""
        return self._permissions.missing(needs)

    def authenticated(self) -> str | None:
        answer = self._connection.request(
            "POST",
            _SUBJECT,
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
        )
        user = (answer.document.get("status") or {}).get("userInfo") or {} if answer.is_ok else {}
        return str(user["username"]) if user.get("username") else None

    # --- state and lock -------------------------------------------------------------------------

    def read(self) -> TargetState:
        return self._state.read()

    def prepare(self) -> None:
        self._state.prepare()

    def write_inventory(self, inventory: Inventory) -> None:
        self._state.write_inventory(inventory)

    def write_revision(self, revision: Revision) -> None:
        self._state.write_revision(revision)

    def drop_revision(self, number: int) -> None:
        self._state.drop_revision(number)

    def held(self, holder: str) -> AbstractContextManager[None]:
        return self._lease.held(holder)

    def locked_by(self) -> Holder | None:
        return self._lease.locked_by()


def cluster_uid(connection: KubernetesConnection) -> str:
    """What identifies a cluster: the UID of its kube-system namespace.

    Raises PermissionRefused, Unreachable.
    """
    answer = connection.request("GET", "/api/v1/namespaces/kube-system")
    if not answer.is_ok:
        raise refusal(answer, "the cluster's identity cannot be read")
    return str(answer.document["metadata"]["uid"])
