"""A machine that applies: it has the commands and a connection, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from tests.e2e.conftest import Result

SCHEMA_OF = {
    "rollback": "result-apply",
    **{
        each: f"result-{each}"
        for each in ("plan", "apply", "uninstall", "drift", "status", "history")
    },
}


@dataclass(frozen=True)
class Running:
    """A command that was started; `end` waits for it."""

    process: subprocess.Popen[str]

    def kill(self) -> None:
        self.process.kill()
        assert self.end().exit_code == -signal.SIGKILL, "it was over before it could be killed"

    def end(self) -> Result:
        stdout, stderr = self.process.communicate(timeout=120)
        assert "Traceback" not in (stderr or ""), stderr
        return Result(self.process.returncode, stdout, stderr or "")


@dataclass(frozen=True)
class Machine:
    """Runs `bundler` in an empty folder, with an empty home and nothing on PATH.

    `connection` are the flags that lead to the target; `variables` are set besides.
    """

    folder: Path
    connection: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    def with_connection(self, *flags: object) -> Machine:
        return replace(self, connection=tuple(map(str, flags)))

    def with_variables(self, **variables: str) -> Machine:
        return replace(self, variables={**self.variables, **variables})

    def start(self, *arguments: object, stderr: int = subprocess.PIPE) -> Running:
        self.folder.mkdir(exist_ok=True)
        empty = {"PATH": str(self.folder), "HOME": str(self.folder), "BUNDLER_DEBUG": "1"}
        no_images = {"BUNDLER_NO_IMAGE_CHECK": "1"}  # most tests' images are nowhere
        command = [sys.executable, "-m", "bundler", *map(str, arguments), *self.connection]
        return Running(
            subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **empty, **no_images, **self.variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        )

    def __call__(self, *arguments: object) -> Result:
        return self.start(*arguments).end()

    def started(self, reference: str, *options: object, environment: str = "stage") -> Running:
        """An apply that goes on meanwhile."""
        return self.start("apply", reference, "--env", environment, "--yes", *options)

    def apply(
        self, reference: str, *options: object, environment: str = "stage", exit_code: int = 0
    ) -> Any:
        """The value of `bundler apply --yes -o json`, checked against its schema."""
        result = self.started(reference, "-o", "json", *options, environment=environment).end()
        assert result.exit_code == exit_code, result.stdout + result.stderr
        return value("apply", result)

    def change(
        self, command: str, *options: object, environment: str = "stage", exit_code: int = 0
    ) -> Any:
        """The value of `bundler rollback` or `uninstall --yes -o json`, checked."""
        result = self(command, "--env", environment, "--yes", "-o", "json", *options)
        assert result.exit_code == exit_code, result.stdout + result.stderr
        return value(command, result)

    def plan(
        self, reference: str, *options: object, environment: str = "stage", exit_code: int = 0
    ) -> Any:
        """The value of `bundler plan -o json`, checked against its schema."""
        result = self("plan", reference, "--env", environment, "-o", "json", *options)
        assert result.exit_code == exit_code, result.stdout + result.stderr
        return value("plan", result)

    def refused(
        self, reference: str, *options: object, exit_code: int, environment: str = "stage"
    ) -> Any:
        """The one error of an apply that ends so, wherever it stands in the value."""
        found = self.apply(reference, *options, environment=environment, exit_code=exit_code)
        if "error" in found:
            return found["error"]
        return next(each["error"] for each in found["targets"] if each["error"])

    def look(self, command: str, *options: object, exit_code: int = 0) -> Any:
        """The one target of `bundler status`, `drift` or `history`."""
        result = self(command, "-o", "json", *options)
        assert result.exit_code == exit_code, result.stdout + result.stderr
        [target] = value(command, result)["targets"]
        return target


def value(command: str, result: Result) -> Any:
    """The printed value: the command's, or an error; checked against its schema."""
    found = json.loads(result.stdout)
    schema = "result-error" if "error" in found else SCHEMA_OF[command]
    assert not DocumentSchemas().check(schema, found), result.stdout
    return found
