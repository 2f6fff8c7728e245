"""Ends a process at one of its requests."""

from __future__ import annotations

from tests.faults.api_proxy import is_watch
from tests.faults.fault_proxy import Exchange, Fault
from tests.faults.processes import Started


def killing(running: list[Started], *, is_done: bool) -> Fault:
    """A fault that kills the last of them at a request, which the server gets to see or not."""

    def act(exchange: Exchange) -> None:
        if is_done and not is_watch(exchange.request):
            exchange.forward()
        running[-1].kill()
        exchange.reset()

    return Fault("killed", act)
