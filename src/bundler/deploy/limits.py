"""How long is waited, and how long something may look bad."""

from __future__ import annotations

from dataclasses import dataclass

FOREVER = float("inf")


@dataclass(frozen=True)
class Limits:
    """How long a workload may look bad, in seconds, until it counts as failed for good."""

    timeout: float = 600.0
    """For everything together."""
    stall: float = FOREVER
    """For nothing that is waited for to move."""
    image: float = 30.0
    """An image that cannot be pulled, unless its registry is only away."""
    restarts: int = 3
    crash: float = 60.0
    """Nothing ready, where a container restarted `restarts` times."""
    refused: float = 10.0
    """Pods that admission or a quota refuses; a new namespace lacks its account for a moment.
    What somebody deletes while it is waited for, too."""
