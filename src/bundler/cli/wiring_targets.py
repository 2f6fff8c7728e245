"""Chooses the adapters of targets, and says who it is that applies."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.cli import identity, output, wiring
from bundler.errors import NoConnection
from bundler.model.connection import Destination, GitFolder, TargetConnection
from bundler.model.reference import ArtifactReference

if TYPE_CHECKING:
    from bundler.adapters.cluster.connection import KubernetesConnection
    from bundler.adapters.cluster.known import Known
    from bundler.adapters.git.branch_folder import BranchFolder
    from bundler.deploy.limits import Limits
    from bundler.deploy.policy import Policy
    from bundler.deploy.progress import OnProgress
    from bundler.deploy.result import Runner
    from bundler.model.changeset import Plan
    from bundler.model.finding import Finding
    from bundler.model.revision import TargetState
    from bundler.ports import (
        Decrypter,
        DeployTarget,
    )
    from bundler.publish.replacement import Replacing


def runner(
    on_plan: Callable[[Plan], bool],
    on_progress: OnProgress,
    limits: Limits,
    reason: str | None = None,
    policy: Policy | None = None,
    images: Callable[[Plan], None] | None = None,
) -> Runner:
    from bundler.deploy.policy import Policy
    from bundler.deploy.result import Runner

    who = identity.claimed()
    return Runner(
        who=who,
        holder=f"{who.claimed} {secrets.token_hex(4)}",
        clock=identity.now,
        monotonic=time.monotonic,
        on_plan=on_plan,
        on_progress=on_progress,
        limits=limits,
        reason=reason,
        policy=policy or Policy(),
        images=images,
    )


def image_check(plain_http: bool) -> Callable[[Plan], None]:
    from bundler.deploy.image_presence import ImageCheck

    return ImageCheck(wiring.deploy_registries(plain_http))


def replacing(
    reason: str, agreed: Callable[[ArtifactReference, Sequence[Finding]], bool]
) -> Replacing:
    from bundler.publish.replacement import Replacing

    return Replacing(reason, identity.claimed(), identity.now, agreed)


def targets_file(path: Path) -> Mapping[str, TargetConnection]:
    from bundler.adapters import targets_file

    return targets_file.read(path, wiring.document_schemas())


@contextmanager
def open_targets(
    ways: Sequence[tuple[Destination, TargetConnection]],
    state_namespace: str | None,
    lock_seconds: float,
    at_once: int = 1,
) -> Iterator[list[DeployTarget]]:
    """Open every target before any is used, `at_once` of them together. Nothing is sent yet.

    Raises NoConnection.
    """
    with ExitStack() as opened:
        clusters = _Clusters(opened, at_once)
        yield [
            _files(destination, way, opened)
            or clusters.target(destination, way, state_namespace, lock_seconds)
            for destination, way in ways
        ]


def _files(
    destination: Destination, way: TargetConnection, opened: ExitStack
) -> DeployTarget | None:
    """The target that is a folder, here or in a repository; None for a cluster."""
    names = {
        "project": destination.project,
        "environment": destination.environment,
        "target": destination.target,
    }
    if way.directory:
        from bundler.adapters.directory_target import DirectoryTarget

        return DirectoryTarget(Path(way.directory), **names)
    if way.git:
        from bundler.adapters.git_target import GitTarget

        return GitTarget(opened.enter_context(_branch_folder(way.git)), **names)
    return None


def _branch_folder(git: GitFolder) -> BranchFolder:
    from bundler.adapters.git.branch_folder import BranchFolder
    from bundler.adapters.git_target import WANTED

    return BranchFolder(*git, WANTED)


class _Clusters:
    """Targets in the same cluster share a connection, and what is asked of it once."""

    def __init__(self, opened: ExitStack, at_once: int) -> None:
        self._opened = opened
        self._at_once = at_once
        self._known: dict[TargetConnection, tuple[KubernetesConnection, Known]] = {}

    def target(
        self,
        destination: Destination,
        way: TargetConnection,
        state_namespace: str | None,
        lock_seconds: float,
    ) -> DeployTarget:
        from bundler.adapters.cluster.kubernetes_cluster import KubernetesCluster

        connection, known = self._connected(way)
        return KubernetesCluster(
            connection,
            project=destination.project,
            environment=destination.environment,
            target=destination.target,
            namespace=destination.namespace,
            state_namespace=state_namespace,
            lock_timeout=lock_seconds,
            tell=output.note,
            expected=way.cluster,
            known=known,
        )

    def _connected(self, way: TargetConnection) -> tuple[KubernetesConnection, Known]:
        from bundler.adapters.cluster.known import Known

        if way not in self._known:
            connection = self._opened.enter_context(_connection(way, self._at_once))
            self._known[way] = connection, Known(connection)
        return self._known[way]


def decrypter(program: str | None) -> Decrypter:
    from bundler.adapters.sops import Sops

    return Sops(program)


def _connection(way: TargetConnection, at_once: int = 1) -> KubernetesConnection:
    from bundler.adapters.cluster.connection import connect
    from bundler.adapters.cluster.pools import CONNECTIONS

    return connect(
        context=way.context,
        kubeconfig=way.kubeconfig,
        in_cluster=way.in_cluster,
        size=CONNECTIONS * at_once,
    )


def _connect(way: TargetConnection) -> tuple[KubernetesConnection, Known]:
    """A connection to the cluster that is expected. Raises Refused where it is another."""
    from bundler.adapters.cluster.known import Known

    connection = _connection(way)
    known = Known(connection)
    if way.cluster:
        known.expect(way.cluster)
    return connection, known


def plurals(way: TargetConnection) -> Callable[[str, str], str | None]:
    """How a cluster's API calls the objects of a kind; None for kinds that it does not serve.

    It is asked when the first kind is. Raises NoConnection, Unreachable, PermissionRefused.
    """

    @cache
    def known() -> Known:
        return _connect(way)[1]

    def plural(group: str, kind: str) -> str | None:
        resource = known().discovery.find(group, kind)
        return resource.plural if resource else None

    return plural


def target_states(
    flags: TargetConnection, state_namespace: str | None
) -> list[tuple[str, str, str, TargetState]]:
    """(project, environment, target, state) of all that was applied over a connection."""
    if flags.directory:
        from bundler.adapters import directory_target

        directory = Path(flags.directory)
        if not directory.is_dir():
            raise NoConnection(
                f"{directory} is no folder", hint="apply to it first, or name another"
            )
        return directory_target.find_states(directory)
    if flags.git:
        from bundler.adapters import git_target

        with _branch_folder(flags.git) as place:
            return git_target.find_states(place)
    from bundler.adapters.cluster import state as kubernetes_state

    connection, _ = _connect(flags)
    with connection:
        return kubernetes_state.find_states(connection, state_namespace)
