"""Servers of a test run: programs on 127.0.0.1 that never outlive the process that started them."""

from __future__ import annotations

import atexit
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    """A server ended, or did not become ready; the message has the last lines of its log."""


class ServerProcess:
    """A running server, in a process group of its own.

    On Linux the kernel kills it when the *thread* that started it ends, however that happens.
    """

    def __init__(self, name: str, command: Sequence[str | Path], log: Path) -> None:
        self.name = name
        self.log = log
        # A clean environment: no proxies, no configuration of the person who runs the tests.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(log.parent)}
        die_with_parent = [sys.executable, "-I", "-S", __file__, str(os.getpid())]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*die_with_parent, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        atexit.register(self.stop)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def last_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        """Kill it: whatever it holds is of this run only, so nothing is worth a clean end."""
        atexit.unregister(self.stop)
        if not self.has_ended:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def wait_until(
    is_ready: Callable[[], object],
    waiting_for: str,
    servers: Sequence[ServerProcess],
    timeout: float = 60,
) -> None:
    """Poll until `is_ready` answers something true; a connection error means not yet."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if is_ready():
                return
        except OSError:
            pass
        for server in servers:
            if server.has_ended:
                raise ServerError(f"{server.name} ended early\n{server.last_lines}")
        if time.monotonic() > deadline:
            logs = "\n".join(f"--- {server.name}\n{server.last_lines}" for server in servers)
            raise ServerError(f"waited {timeout:.0f} s for {waiting_for}\n{logs}")
        time.sleep(0.02)


def free_port() -> int:
    """A port that nobody uses now; below those that the system hands out by itself."""
    while True:
        port = random.randint(20_000, 32_000)  # noqa: S311  (nothing secret about a port)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def end_on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    """Turn the signal into an exception, so that leaving `with` stops the servers."""
    raise SystemExit(128 + signal.SIGTERM)


def become(parent: int, command: list[str]) -> None:
    """Turn this process into the command, to be killed when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the kernel knew whom to watch
            sys.exit("the parent has ended")
    os.execv(command[0], command)  # noqa: S606  (there is nothing for a shell to do)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
