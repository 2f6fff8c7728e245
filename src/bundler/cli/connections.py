"""Connections to targets: flags, or the runner's file; never the bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bundler.cli import wiring_targets
from bundler.errors import NoConnection, UsageError
from bundler.model.connection import Destination, TargetConnection
from bundler.model.revision import TargetState
from bundler.ports import DeployTarget


@dataclass(frozen=True)
class ConnectionFlags:
    context: str | None = None
    kubeconfig: str | None = None
    directory: Path | None = None
    targets_file: Path | None = None
    state_namespace: str | None = None
    cluster: str | None = None
    """UID of the cluster that the direct connection has to lead to."""

    def __post_init__(self) -> None:
        named = [
            flag
            for flag, value in (
                ("--context", self.context),
                ("--directory", self.directory),
                ("--targets", self.targets_file),
            )
            if value
        ]
        if len(named) > 1:
            raise UsageError(f"{' and '.join(named)} contradict each other", hint="name one")
        if self.cluster and (self.directory or self.targets_file):
            raise UsageError(
                "--cluster is for the one cluster that --context or --kubeconfig lead to",
                hint="a targets file names the cluster of each target: `cluster: UID`",
            )

    @property
    def direct(self) -> TargetConnection:
        """The one connection that the flags themselves name."""
        if self.directory:
            return TargetConnection(directory=str(self.directory))
        return TargetConnection(self.context, self.kubeconfig, cluster=self.cluster)

    @property
    def listed(self) -> Mapping[str, TargetConnection]:
        """The connections of the targets file; --kubeconfig is for those that name none."""
        if self.targets_file is None:
            return {}
        return {
            place: way
            if way.in_cluster or way.directory
            else replace(way, kubeconfig=way.kubeconfig or self.kubeconfig)
            for place, way in wiring_targets.targets_file(self.targets_file).items()
        }


@contextmanager
def connected(
    flags: ConnectionFlags, destinations: Sequence[Destination], lock_seconds: float = 0
) -> Iterator[list[DeployTarget]]:
    """The targets behind destinations, in their order.

    Raises NoConnection for all that have none, before anything is connected to.
    """
    ways = _ways(flags, [destination.place for destination in destinations])
    with wiring_targets.open_targets(
        list(zip(destinations, ways, strict=True)), flags.state_namespace, lock_seconds
    ) as targets:
        yield targets


def states(
    flags: ConnectionFlags, environment: str | None, target: str | None
) -> list[tuple[str, str, str, TargetState]]:
    """What was applied, by everything that the connections lead to. Raises NoConnection."""
    if flags.targets_file:
        found = [
            state
            for place, way in flags.listed.items()
            for state in wiring_targets.target_states(way, flags.state_namespace)
            if place == f"{state[1]}/{state[2]}"
        ]
    elif flags.direct.is_given:
        found = wiring_targets.target_states(flags.direct, flags.state_namespace)
    else:
        raise NoConnection("no connection", hint=_HINT)
    chosen = [
        state for state in found if environment in (None, state[1]) and target in (None, state[2])
    ]
    if found and not chosen:
        known = ", ".join(f"{state[1]}/{state[2]}" for state in found)
        raise UsageError("nothing was applied to such a target", hint=f"there is {known}")
    return chosen


_HINT = (
    "name one with --context, --kubeconfig ($KUBECONFIG), --directory, or --targets targets.yaml"
)


def way_to(flags: ConnectionFlags, place: str) -> TargetConnection | None:
    """The way to a target of a cluster, if one is named."""
    way = flags.listed.get(place) if flags.targets_file else flags.direct
    return way if way and way.is_given and not way.directory else None


def _ways(flags: ConnectionFlags, places: Sequence[str]) -> list[TargetConnection]:
    if flags.targets_file is None and flags.direct.is_given:
        return [flags.direct] * len(places)
    listed = flags.listed
    missing = [place for place in places if place not in listed]
    if missing:
        raise NoConnection(f"no connection to {', '.join(missing)}", hint=_HINT)
    return [listed[place] for place in places]
