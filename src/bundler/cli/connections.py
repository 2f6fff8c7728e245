"""Connections to targets: flags, or the runner's file; never the bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler.cli import wiring
from bundler.errors import NoConnection, UsageError
from bundler.ports import DeployTarget


@dataclass(frozen=True)
class ConnectionFlags:
    context: str | None = None
    kubeconfig: str | None = None
    directory: Path | None = None
    targets_file: Path | None = None
    state_namespace: str | None = None

    @property
    def direct(self) -> wiring.TargetConnection:
        """The one connection that the flags themselves name."""
        return wiring.TargetConnection(self.context, self.kubeconfig, False, self.directory)


@contextmanager
def connected(
    flags: ConnectionFlags, destinations: Sequence[wiring.Destination], lock_seconds: float = 0
) -> Iterator[list[DeployTarget]]:
    """The targets behind destinations, in their order.

    Raises NoConnection for all that have none, before anything is connected to.
    """
    ways = _ways(flags, [destination.place for destination in destinations])
    with wiring.open_targets(
        list(zip(destinations, ways, strict=True)), flags.state_namespace, lock_seconds
    ) as targets:
        yield targets


def _ways(flags: ConnectionFlags, places: Sequence[str]) -> list[wiring.TargetConnection]:
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
            hint="name one with --context, --kubeconfig ($KUBECONFIG), --directory, or "
            "--targets targets.yaml",
        )
    return [listed[place] for place in places]
