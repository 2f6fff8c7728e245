"""Last lines of containers' logs, where there are any for us."""

from __future__ import annotations

from collections.abc import Sequence

from bundler.adapters.cluster.connection import KubernetesConnection, path_of
from bundler.errors import BundlerError
from bundler.model.objects import ObjectRef

_SECONDS = 5.0
_MAX_BYTES = 32 * 1024
_MAX_LINE = 500


def last_lines(
    connection: KubernetesConnection,
    pod: ObjectRef,
    container: str,
    count: int,
    *,
    previous: bool,
) -> Sequence[str]:
    """See `bundler.ports.LogReader`: a log that cannot be read is none."""
    query = {
        "container": container,
        "tailLines": str(count),
        "limitBytes": str(_MAX_BYTES),
        "previous": str(previous).lower(),
    }
    path = path_of("api", "v1", "namespaces", pod.namespace, "pods", pod.name, "log")
    try:
        text = connection.text(path, query=query, seconds=_SECONDS)
    except BundlerError:
        return ()
    return [_cut(line) for line in text.splitlines() if line.strip()][-count:]


def _cut(line: str) -> str:
    return line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]}…"
