"""A Kubernetes cluster as the target of a deploy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager

from bundler.adapters.cluster.connection import KubernetesConnection
from bundler.adapters.cluster.known import Known
from bundler.adapters.cluster.lease import KubernetesLease
from bundler.adapters.cluster.objects import KubernetesObjects
from bundler.adapters.cluster.permissions import KubernetesPermissions
from bundler.adapters.cluster.state import KubernetesState, Place
from bundler.adapters.cluster.watch import KubernetesWatcher
from bundler.model.claim import NO_CLAIM, Claim
from bundler.model.connection import Identity
from bundler.model.inventory import Inventory
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.revision import Revision, TargetState
from bundler.ports import Holder, Need, ObjectWatcher


class KubernetesCluster:
    """A namespace of a cluster as a target; implements `bundler.ports.DeployTarget`.

    Namespaced objects that name no namespace belong to `namespace`. The state and the lock lie
    there too, or in `state_namespace`. `lock_timeout` is how long a lock that somebody holds is
    waited for once he shows that he lives; `tell` takes remarks for whoever applies. Everything
    that changes the cluster, and waiting, raises Locked once the lock was lost. `expected` is the
    UID that the cluster was named by, and has to have; `known` is what other targets over the same
    connection have asked.
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
        known: Known | None = None,
    ) -> None:
        place = Place(project, environment, target)
        kept_in = state_namespace or namespace
        self._connection = connection
        self._expected = expected
        self._known = known or Known(connection)
        self._discovery = self._known.discovery
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
        self._watcher = KubernetesWatcher(connection, self._discovery, self._lease.check)

    # --- objects --------------------------------------------------------------------------------

    def live(self, wanted: Mapping[ObjectRef, str]) -> Mapping[ObjectRef, KubernetesObject]:
        return self._objects.live(wanted)

    def autoscalers(self, namespaces: Collection[str]) -> Mapping[ObjectRef, ObjectRef]:
        return self._objects.autoscalers(namespaces)

    def apply(
        self, obj: KubernetesObject, *, dry_run: bool = False, claim: Claim = NO_CLAIM
    ) -> KubernetesObject:
        return self._objects.apply(obj, dry_run=dry_run, claim=claim)

    def delete(self, ref: ObjectRef, uid: str, owner: str | None = None) -> None:
        self._objects.delete(ref, uid, owner)

    @property
    def watcher(self) -> ObjectWatcher | None:
        return self._watcher

    @property
    def keeps_encrypted(self) -> bool:
        return False

    def identity(self) -> Identity:
        self._check_cluster()
        return Identity("cluster", self._known.uid(), is_expected=self._expected is not None)

    def _check_cluster(self) -> None:
        """Before anything else is asked. Raises Refused where it is another than is expected."""
        if self._expected:
            self._known.expect(self._expected)

    # --- who we are -----------------------------------------------------------------------------

    def missing(self, needs: Iterable[Need]) -> tuple[Need, ...]:
        """Kinds that the cluster does not serve yet cannot be asked about and are left out."""
        return self._permissions.missing(needs)

    def authenticated(self) -> str | None:
        return self._known.user()

    # --- state and lock -------------------------------------------------------------------------

    def read(self) -> TargetState:
        self._check_cluster()
        return self._state.read()

    def prepare(self) -> None:
        self._state.prepare()

    def write_inventory(self, inventory: Inventory) -> None:
        self._state.write_inventory(inventory)

    def write_revision(self, revision: Revision) -> None:
        self._state.write_revision(revision)

    def drop_revision(self, number: int) -> None:
        self._state.drop_revision(number)

    def drop_inventory(self) -> None:
        self._state.drop_inventory()

    def held(self, holder: str) -> AbstractContextManager[None]:
        return self._lease.held(holder)

    def locked_by(self) -> Holder | None:
        return self._lease.locked_by()
