"""Connections to targets: flags, or the runner's file; never the bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler.cli import wiring
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

    @property
    def direct(self) -> TargetConnection:
        """The one connection that the flags themselves name."""
        return TargetConnection(
            self.context,
            self.kubeconfig,
            directory=str(self.directory) if self.directory else None,
        )


@contextmanager
def connected(
    flags: ConnectionFlags, destinations: Sequence[Destination], lock_seconds: float = 0
) -> Iterator[list[DeployTarget]]:
    """The targets behind destinations, in their order.

    Raises NoConnection for all that have none, before anything is connected to.
    """
    ways = _ways(flags, [destination.place for destination in destinations])
    with wiring.open_targets(
        list(zip(destinations, ways, strict=True)), flags.state_namespace, lock_seconds
    ) as targets:
        yield targets


def states(
    flags: ConnectionFlags, environment: str | None, target: str | None
) -> list[tuple[str, str, str, TargetState]]:
    """What was applied, by everything that the connections lead to. Raises NoConnection."""
    if flags.direct.is_given:
        found = wiring.target_states(flags.direct, flags.state_namespace)
    elif flags.targets_file:
        listed = wiring.targets_file(flags.targets_file)
        found = [
            state
            for place, way in listed.items()
            for state in wiring.target_states(way, flags.state_namespace)
            if place == f"{state[1]}/{state[2]}"
        ]
    else:
        raise NoConnection("no connection", hint=_HINT)
    return [
        state for state in found if environment in (None, state[1]) and target in (None, state[2])
    ]


_HINT = (
    "name one with --context, --kubeconfig ($KUBECONFIG), --directory, or --targets targets.yaml"
)


def _ways(flags: ConnectionFlags, places: Sequence[str]) -> list[TargetConnection]:
    given = flags.direct
    if given.is_given:
        if flags.targets_file:
            raise UsageError("--targets and another connection: which one?", hint="name one")
        return [given] * len(places)
    listed = wiring.targets_file(flags.targets_file) if flags.targets_file else {}
    missing = [place for place in places if place not in listed]
    if missing:
        raise NoConnection(
            f"no connection to {', '.join(missing)}",
            hint=_HINT,
        )
    return [listed[place] for place in places]
