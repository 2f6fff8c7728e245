"""The commands as users run them: a process, its exit code, its stdout and stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from tools.sample_shop import SampleShop, build_shop


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def value(self) -> Any:
        return json.loads(self.stdout)

    @property
    def error(self) -> Any:
        assert not DocumentSchemas().check("result-error", self.value)
        return self.value["error"]

    @property
    def findings(self) -> Any:
        return self.error["findings"]


Bundler = Callable[..., Result]


def run_bundler(
    *arguments: object, cwd: Path, environment: Mapping[str, str] | None = None
) -> Result:
    completed = subprocess.run(
        [sys.executable, "-m", "bundler", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in completed.stderr, completed.stderr
    return Result(completed.returncode, completed.stdout, completed.stderr)


@pytest.fixture
def bundler(tmp_path: Path, kustomize_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundler:
    """Runs `bundler ARGUMENTS` in the test's folder; keyword arguments are its environment."""
    monkeypatch.setenv("BUNDLER_KUSTOMIZE", str(kustomize_path))

    def run(*arguments: object, cwd: Path = tmp_path, **environment: str) -> Result:
        return run_bundler(*arguments, cwd=cwd, environment=environment)

    return run


@pytest.fixture
def shop(tmp_path: Path) -> SampleShop:
    return build_shop(tmp_path)


@pytest.fixture
def checked() -> Callable[[str, Result], Any]:
    """The value of a successful `-o json`, checked against its schema."""

    def check(schema: str, result: Result) -> Any:
        assert result.exit_code == 0, result.stderr + result.stdout
        assert not DocumentSchemas().check(schema, result.value)
        return result.value

    return check
