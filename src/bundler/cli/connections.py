"""Connections to targets: flags, or the runner's file; never the bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bundler.cli import wiring_targets
from bundler.errors import BundlerError, NoConnection, UsageError
from bundler.model.connection import Destination, TargetConnection
from bundler.model.revision import TargetState
from bundler.parallel import threads
from bundler.ports import DeployTarget

PARALLEL = 8


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
            if way.in_cluster or way.directory or way.git
            else replace(way, kubeconfig=way.kubeconfig or self.kubeconfig)
            for place, way in wiring_targets.targets_file(self.targets_file).items()
        }


@contextmanager
def connected(
    flags: ConnectionFlags,
    destinations: Sequence[Destination],
    lock_seconds: float = 0,
    at_once: int = 1,
) -> Iterator[list[DeployTarget]]:
    """The targets behind destinations, in their order.

    Raises NoConnection for all that have none, before anything is connected to.
    """
    ways = _ways(flags, [destination.place for destination in destinations])
    with wiring_targets.open_targets(
        list(zip(destinations, ways, strict=True)), flags.state_namespace, lock_seconds, at_once
    ) as targets:
        yield targets


class Deployed(NamedTuple):
    """A target with a history, and the way that leads there."""

    project: str
    environment: str
    target: str
    state: TargetState
    way: TargetConnection

    @property
    def place(self) -> str:
        return f"{self.environment}/{self.target}"


class Reached(NamedTuple):
    """What was applied, by everything that the connections lead to."""

    targets: list[Deployed]
    errors: Mapping[str, BundlerError]
    """`environment/target` of the targets file → why its connection leads nowhere."""


def reached(flags: ConnectionFlags, environment: str | None, target: str | None) -> Reached:
    """What was applied, and which of several connections fail. Raises NoConnection, UsageError;
    the error of a connection where the flags name that one alone."""

    def is_meant(place: str) -> bool:
        named, _, name = place.partition("/")
        return environment in (None, named) and target in (None, name)

    if flags.targets_file:
        listed = flags.listed
        found = _listed(
            {place: way for place, way in listed.items() if is_meant(place)}, flags.state_namespace
        )
        known = list(listed)
    elif flags.direct.is_given:
        found = Reached(_deployed(flags.direct, flags.state_namespace), {})
        known = [each.place for each in found.targets]
    else:
        raise NoConnection("no connection", hint=_HINT)
    if known and not any(map(is_meant, known)):
        raise UsageError("no such target is known here", hint=f"there is {', '.join(known)}")
    return found._replace(targets=[each for each in found.targets if is_meant(each.place)])


def _listed(ways: Mapping[str, TargetConnection], state_namespace: str | None) -> Reached:
    """All connections at once, each that several targets share only once."""
    with threads(PARALLEL) as pool:
        running = {
            way: pool.submit(_deployed, way, state_namespace)
            for way in dict.fromkeys(ways.values())
        }
    targets: list[Deployed] = []
    errors: dict[str, BundlerError] = {}
    for place, way in ways.items():
        try:
            targets += [each for each in running[way].result() if each.place == place]
        except BundlerError as error:
            errors[place] = error
    return Reached(targets, errors)


def _deployed(way: TargetConnection, state_namespace: str | None) -> list[Deployed]:
    return [Deployed(*each, way) for each in wiring_targets.target_states(way, state_namespace)]


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
        file = flags.targets_file
        raise NoConnection(
            f"no connection to {', '.join(missing)}",
            hint=f"add it to {file}, as in {missing[0]}: {{context: …}}" if file else _HINT,
        )
    return [listed[place] for place in places]
