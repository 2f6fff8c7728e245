"""`bundler` as a process that starts at once, so that it can be killed hundreds of times.

One process has loaded the program and is forked for each command: nothing else is shared.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.e2e.conftest import Result

_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "bundler.cli.apply",
        "bundler.adapters.cluster.kubernetes_cluster",
        "bundler.adapters.registry.registries",
        "bundler.adapters.schemas.document_schemas",
        "kubernetes.config",
    ]
)


@dataclass(frozen=True)
class Started:
    process: ForkServerProcess
    output: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return not self.wait(0)

    def kill(self) -> None:
        """And see it dead. From any thread."""
        self.send(signal.SIGKILL)
        assert self.wait(20), "it is still there"

    def wait(self, seconds: float) -> bool:
        """Whether it is over by then. From any thread."""
        return bool(wait([self.process.sentinel], timeout=seconds))

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self, seconds: float = 60) -> Result:
        self.wait(seconds)
        self.process.join(0)
        code = self.process.exitcode
        stdout, stderr = (
            path.read_text() for path in (self.output / "stdout", self.output / "stderr")
        )
        assert code is not None, f"still running after {seconds:g} s\n{stderr}"
        assert "Traceback" not in stderr, stderr
        return Result(code, stdout, stderr)


def start(
    folder: Path,
    *arguments: object,
    lease: int | None = None,
    variables: Mapping[str, str] | None = None,
) -> Started:
    """Run a command in a folder of its own; `lease` is for how many seconds it has its lock."""
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"run-{len(list(folder.glob('run-*')))}"
    output.mkdir()
    empty = {"PATH": str(folder), "HOME": str(folder), "BUNDLER_DEBUG": "1"}
    empty["BUNDLER_NO_IMAGE_CHECK"] = "1"
    environment = {**os.environ, **empty, **(variables or {})}
    process = _FORKS.Process(
        target=_run, args=(list(map(str, arguments)), str(output), environment, lease), daemon=True
    )
    process.start()
    return Started(process, output)


def _run(arguments: list[str], output: str, environment: dict[str, str], lease: int | None) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(f"{output}/{name}", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
    sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  for as long as it runs
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(output)
    if lease is not None:
        from bundler.adapters.cluster import lease as kubernetes_lease

        kubernetes_lease.LEASE_SECONDS = lease
    from bundler.__main__ import main

    sys.argv = ["bundler", *arguments]
    main()
